//! Notifications to systemd. The service never waits until systemd reads them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
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
        (None, _) => state,
    }
}

fn describe_state(status: &Status) -> String {
    if let Some(refusal) = status.waits_for() {
        return format!("{}; {refusal}", status.state);
    }
    match status.state {
        state @ (State::Offline { .. } | State::Waiting { .. }) => {
            format!("{state}, {} failures", status.failures)
        }
        state => state.to_string(),
    }
}

/// The directory in memory that systemd, or the init script, has made: the first one of `RUNTIME_DIRECTORY`.
pub(crate) fn runtime_directory(variable: Option<OsString>) -> Option<PathBuf> {
    let variable = variable?;
    let first = variable.as_bytes().split(|byte| *byte == b':').next()?;
    let first = PathBuf::from(OsStr::from_bytes(first));
    first.is_absolute().then_some(first)
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
    use fedecks_device::DeviceId;

    use super::*;

    #[test]
    fn the_runtime_directory_is_the_first_one_if_there_is_any() {
        for (variable, expected) in [
            (Some("/run/fedecks"), Some("/run/fedecks")),
            (Some("/run/fedecks:/run/other"), Some("/run/fedecks")),
            (Some("fedecks"), None),
            (Some(""), None),
            (None, None),
        ] {
            let found = runtime_directory(variable.map(OsString::from));
            assert_eq!(found, expected.map(PathBuf::from), "{variable:?}");
        }
    }

    #[tokio::test]
    async fn a_status_is_one_line_and_drives_no_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a\nREADY=1\u{1b}[2J\u{202e}");
        std::fs::write(&file, "not a directory").unwrap();
        let url = "wss://127.0.0.1:1".parse().unwrap();
        let builder = Client::builder(url, DeviceId::new("kitchen-1").unwrap());
        let (client, _events) = builder.data_dir(&file).start().await.unwrap();
        let mut status = client.watch_status();
        let status = status.wait_for(|status| status.store_error.is_some()).await.unwrap().clone();
        let said = describe(&status);
        let escaped = format!("{}/a\\nREADY=1\\u001b[2J\\u202e", folder.path().display());
        assert!(said.contains("data directory: ") && said.contains(&escaped), "{said}");
        assert!(!said.contains(['\n', '\u{1b}', '\u{202e}']), "{said}");
    }
}
