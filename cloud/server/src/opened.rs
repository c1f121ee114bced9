//! What a server starts with: its configuration was checked and its store opened, and nothing serves yet.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::error::ServerError;
use crate::own_node::OwnNode;
use crate::preflight::{self, Preflight};
use crate::store::{self, ServedStore, create_data_dir};

pub(crate) struct Opened {
    pub(crate) config: Arc<Config>,
    pub(crate) preflight: Preflight,
    pub(crate) store: ServedStore,
    /// On a database. Not dropped before the store is closed, which ends the lease of this node.
    pub(crate) node: Option<Arc<OwnNode>>,
}

impl Opened {
    pub(crate) async fn open(config: Config) -> Result<Self, ServerError> {
        // Before anything is created.
        let preflight = preflight::check(&config)?;
        preflight.log();
        let config = Arc::new(config);
        let store = store::open_for_server(&config).await?;
        let node = match &store.nodes {
            Some(_) => Some(Arc::new(take_node(config.clone()).await?)),
            None => None,
        };
        Ok(Self { config, preflight, store, node })
    }
}

async fn take_node(config: Arc<Config>) -> Result<OwnNode, ServerError> {
    let take = move || {
        // Then `OwnNode` warns that it cannot keep the id.
        if let Err(error) = create_data_dir(&config) {
            tracing::debug!(%error, "cannot create the data directory");
        }
        OwnNode::take(&config.data_dir)
    };
    let taken = spawn_blocking(take).await;
    taken.map_err(|error| ServerError::io("use the data directory")(error.into()))?
}
