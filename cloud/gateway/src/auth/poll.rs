//! Polls the store for what other processes change in it.

use std::time::Duration;

use fedecks_store::StoreError;
use tokio::time::MissedTickBehavior;

/// How often it is looked for what another process wrote.
const INTERVAL: Duration = Duration::from_millis(500);

/// Has `refresh` read the store anew again and again, for ever. Says once that `what` go unnoticed when
/// that begins to fail, and once that they don't any more.
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
                tracing::info!("{what} can be read again");
            }
            Ok(()) => {}
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "{what} go unnoticed for now");
            }
            Err(_) => {}
        }
    }
}
