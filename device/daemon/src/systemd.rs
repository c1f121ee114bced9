//! Notifications to systemd. The service never waits until systemd reads them.

use std::io;
use std::time::Duration;

use fedecks_common::text;
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
        // A path may have a line break, which would end the variable.
        (Some(error), _) => format!("{state}; data directory: {}", text::escape(error)),
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

#[cfg(test)]
mod tests {
    use fedecks_device_core::Time;

    use super::*;

    #[test]
    fn a_status_is_one_line_and_drives_no_terminal() {
        let error = "/data/a\nREADY=1\u{1b}[2J\u{202e}: read-only";
        let status = Status {
            state: State::Unregistered,
            since: Time::new(Duration::ZERO),
            attempts: 0,
            failures: 0,
            network: None,
            token_expires_at: None,
            token_is_late: false,
            stored: Stored::Failed,
            store_error: Some(error.to_owned()),
            last_failure: None,
            last_refusal: None,
            last_connected: None,
            round_trip: None,
        };
        let expected = "data directory: /data/a\\nREADY=1\\u001b[2J\\u202e: read-only";
        assert!(describe(&status).ends_with(expected), "{}", describe(&status));
    }
}
