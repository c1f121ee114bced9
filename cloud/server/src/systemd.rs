//! Notifies systemd that the server is ready, alive, reloading or stopping. Without systemd it does nothing.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fedecks_store::NodeRecord;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// Notifies systemd, if it started the server. What it does not take at once is lost.
pub(crate) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = fedecks_common::systemd::notify(&message(state)) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

/// The same for what systemd has to learn in the end: repeats it in the background until systemd takes it.
pub(crate) fn notify_surely(state: &[NotifyState<'_>]) {
    const RETRY: Duration = Duration::from_millis(100);

    let message = message(state);
    let is_full = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    match fedecks_common::systemd::notify(&message) {
        Ok(()) => {}
        Err(error) if is_full(&error) => drop(tokio::spawn(async move {
            while fedecks_common::systemd::notify(&message).is_err_and(|error| is_full(&error)) {
                tokio::time::sleep(RETRY).await;
            }
        })),
        Err(error) => tracing::warn!(%error, "cannot notify systemd"),
    }
}

fn message(state: &[NotifyState<'_>]) -> String {
    state.iter().map(|state| format!("{state}\n")).collect()
}

/// The server is on standby, and so its start is complete.
pub(crate) fn notify_standby(holder: &NodeRecord) {
    let status = format!("on standby, as another server serves: {}", holder.name);
    notify_surely(&[NotifyState::Ready, NotifyState::Status(&status)]);
    feed_watchdog();
}

/// Feeds systemd's watchdog for as long as the runtime runs tasks. A failing store or webhook receiver
/// does not stop it: a restart would not fix that, and would close every connection.
pub(crate) fn feed_watchdog() {
    static IS_FED: AtomicBool = AtomicBool::new(false);

    if IS_FED.swap(true, Ordering::Relaxed) {
        return;
    }
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
