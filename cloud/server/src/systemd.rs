//! Notifies systemd that the server is ready, alive, reloading or stopping. Without systemd it does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// Notifies systemd, if it started the server.
pub(crate) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

/// Feeds systemd's watchdog for as long as the runtime runs tasks. A failing store or webhook receiver
/// does not stop it: a restart would not fix that, and would close every connection.
pub(crate) fn feed_watchdog() {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    // Half of the timeout, as sd_watchdog_enabled(3) advises.
    let mut ticks = interval((timeout / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::spawn(async move {
        loop {
            ticks.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    });
}
