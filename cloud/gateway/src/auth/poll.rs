//! Polls the store for changes by other processes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use fedecks_store::StoreError;
use tokio::time::{Instant, MissedTickBehavior};

const INTERVAL: Duration = Duration::from_millis(500);

/// Calls `refresh` every [`INTERVAL`] in a separate task, until the last reference to `shared` is gone. Logs when
/// it begins to fail and when it has recovered; `what` names what is read.
pub(crate) fn poll_changes<T, R>(
    what: &'static str,
    shared: Weak<T>,
    refresh: impl Fn(Arc<T>) -> R + Send + 'static,
) where
    T: Send + Sync + 'static,
    R: Future<Output = Result<(), StoreError>> + Send,
{
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            let Some(shared) = shared.upgrade() else { return };
            match refresh(shared).await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the store can be polled for {what} again");
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "cannot poll the store for {what}");
                }
                Err(_) => {}
            }
        }
    });
}
