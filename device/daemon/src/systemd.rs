//! Notifications to systemd. The service never waits until systemd reads them.

use std::io;
use std::time::Duration;

use fedecks_device::{Client, Status};
use fedecks_device_core::{State, Stored};
use sd_notify::NotifyState;
use tracing::warn;

/// Keeps the status line of `systemctl status` up to date. The configuration has this many problems.
pub(crate) async fn report_status(client: Client, problems: usize) {
    let mut status = client.watch_status();
    let mut last = String::new();
    loop {
        let mut text = describe(&status.borrow_and_update());
        if problems > 0 {
            text.push_str("; the configuration has problems, see fedecks status");
        }
        if text != last {
            notify_surely(&[NotifyState::Status(&text)]).await;
            last = text;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn describe(status: &Status) -> String {
    let state = describe_state(status);
    match (&status.store_error, status.stored) {
        (Some(error), _) => format!("{state}; data directory: {error}"),
        (None, Stored::Pending) => format!("{state}; saving the token"),
        // A failure is reported with its error.
        (None, _) => state,
    }
}

fn describe_state(status: &Status) -> String {
    match status.state {
        state @ (State::Offline { .. } | State::Waiting { .. }) => {
            format!("{state}, {} failures", status.failures)
        }
        state => state.to_string(),
    }
}

/// Notifies systemd; does nothing if the service was not started by it. What it does not take at once is lost.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    let _ = try_notify(states);
}

/// The same for what systemd has to learn in the end: repeats it until systemd takes it.
pub(crate) async fn notify_surely(states: &[NotifyState<'_>]) {
    const RETRY: Duration = Duration::from_millis(100);

    while try_notify(states) == Err(Full) {
        tokio::time::sleep(RETRY).await;
    }
}

/// Systemd's queue is full.
#[derive(Debug, PartialEq, Eq)]
struct Full;

fn try_notify(states: &[NotifyState<'_>]) -> Result<(), Full> {
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    match fedecks_common::systemd::notify(&message) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Full),
        Err(error) => {
            warn!(%error, "cannot notify systemd");
            Ok(())
        }
    }
}
