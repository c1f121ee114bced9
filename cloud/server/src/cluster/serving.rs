//! Which servers have a lease, by the database: one that the others cannot reach may still serve its devices.

use std::collections::HashSet;

use fedecks_cloud::messaging::NodeId;
use fedecks_store::{NodeState, NodeStore};

/// The id that a server with a lease of this epoch has on the backplane.
pub(crate) fn node_id(epoch: u64) -> NodeId {
    NodeId(epoch)
}

/// The servers whose lease has not ended; `None` if the database does not say.
pub(crate) async fn serving(nodes: &dyn NodeStore) -> Option<HashSet<NodeId>> {
    match nodes.nodes().await {
        Ok(nodes) => {
            let serving = nodes.iter().filter(|node| node.state == NodeState::Serves);
            Some(serving.map(|node| node_id(node.epoch)).collect())
        }
        Err(error) => {
            tracing::debug!(%error, "cannot ask which servers have a lease, will retry");
            None
        }
    }
}
