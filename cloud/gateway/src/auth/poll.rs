//! Polls the store for changes by other processes.

use std::time::Duration;

use fedecks_store::StoreError;
use tokio::time::MissedTickBehavior;

const INTERVAL: Duration = Duration::from_millis(500);

/// Calls `refresh` every [`INTERVAL`] without end. Logs when it begins to fail and when it has recovered;
/// `what` names what is read.
pub(crate) async fn poll_changes<F, R>(what: &str, refresh: F)
where
    F: Fn() -> R,
    R: Future<Output = Result<(), StoreError>>,
{
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        match refresh().await {
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
}
