//! Notifications to systemd.

use fedecks_device::{Client, Status};
use fedecks_device_core::{State, Stored};
use sd_notify::NotifyState;
use tracing::warn;

/// Keeps the status line of `systemctl status` up to date.
pub(crate) async fn report_status(client: Client) {
    let mut status = client.watch_status();
    let mut last = String::new();
    loop {
        let text = describe(&status.borrow_and_update());
        if text != last {
            notify(&[NotifyState::Status(&text)]);
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
        (None, Stored::Yes | Stored::Failed) => state,
    }
}

fn describe_state(status: &Status) -> String {
    match status.state {
        State::Unregistered => "unregistered: waiting for a login".to_owned(),
        State::Late { .. } => "token late: login or operator needed".to_owned(),
        State::Offline { .. } => format!("offline, {} failures", status.failures),
        State::Waiting { .. } => format!("waiting to connect, {} failures", status.failures),
        State::Dialing { attempt } => format!("connecting, attempt {attempt}"),
        State::Connected => "connected".to_owned(),
        State::Closed => "closed".to_owned(),
    }
}

/// Notifies systemd; does nothing if the service was not started by it.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot notify systemd");
    }
}
