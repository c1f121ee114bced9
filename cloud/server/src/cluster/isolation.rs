//! What a server does that cannot reach the database while others do: it sends devices to them.

use std::time::Duration;

use fedecks_cloud::Hub;
use fedecks_cluster::lease::Standing;
use tokio::sync::watch;

use crate::lease::LeaseState;

/// How many devices are disconnected at a time.
const BATCH: usize = 256;

/// Refuses new sessions while this server is isolated, and closes the others when that lasts. `spread` is the time
/// over which devices spread their return. Runs until the lease has ended.
pub(crate) async fn run(hub: Hub, mut lease: watch::Receiver<LeaseState>, spread: Duration) {
    let mut has_drained = false;
    loop {
        let standing = lease.borrow_and_update().standing;
        hub.refuse_new(matches!(standing, Standing::Isolated | Standing::Drains));
        match standing {
            Standing::Drains if !has_drained => {
                has_drained = true;
                let closed = hub.disconnect_all(BATCH, spread).await;
                tracing::warn!(
                    closed,
                    "closed the sessions, as this server cannot reach the database"
                );
            }
            Standing::Serves { .. } => has_drained = false,
            _ => {}
        }
        if lease.changed().await.is_err() {
            return;
        }
    }
}
