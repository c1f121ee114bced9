//! What systemd is told: that the server is ready, alive, reloading or stopping.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// Tells systemd, if it started us.
pub(crate) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell systemd how the server is");
    }
}

/// Tells systemd that the server is alive, for as long as its runtime runs tasks. That the store or a
/// receiver of webhooks fails is not told: a new start would not mend it, and would end every
/// connection.
pub(crate) fn feed_watchdog() {
    // Half of what systemd allows, as sd_watchdog_enabled(3) advises.
    if let Some(allowed) = sd_notify::watchdog_enabled().map(|allowed| allowed / 2) {
        tokio::spawn(feed_every(allowed.max(Duration::from_millis(1))));
    }
}

async fn feed_every(period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}
