//! The properties that change, and their change signals.

use std::borrow::Cow;
use std::collections::HashMap;

use fedecks_dbus::NAME;
use fedecks_device::{Client, Status};
use fedecks_device_core::Time;
use zbus::fdo::Properties;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::Value;

/// The last values that were signalled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PropertyValues {
    state: &'static str,
    network: &'static str,
    last_error: String,
    /// Changes are detected by this: `connected_since` also changes when the system's clock is set.
    connected: Option<Time>,
    connected_since: u64,
}

impl PropertyValues {
    pub(super) fn current(client: &Client) -> Self {
        let status = client.status();
        Self {
            state: status.state_name(),
            network: status.network_name(),
            last_error: last_error(&status),
            connected: status.connected_since(),
            connected_since: connected_since(client),
        }
    }

    /// Signals the values that differ from `before`, if any, in one signal; all of them without `before`.
    pub(super) async fn signal(
        &self,
        before: Option<&Self>,
        emitter: &SignalEmitter<'_>,
    ) -> zbus::Result<()> {
        let mut changed = HashMap::new();
        if before.is_none_or(|before| before.state != self.state) {
            changed.insert("State", Value::from(self.state));
        }
        if before.is_none_or(|before| before.network != self.network) {
            changed.insert("NetworkState", Value::from(self.network));
        }
        if before.is_none_or(|before| before.last_error != self.last_error) {
            changed.insert("LastError", Value::from(self.last_error.as_str()));
        }
        if before.is_none_or(|before| before.connected != self.connected) {
            changed.insert("ConnectedSince", Value::from(self.connected_since));
        }
        if changed.is_empty() {
            return Ok(());
        }
        let interface = InterfaceName::from_static_str_unchecked(NAME);
        Properties::properties_changed(emitter, interface, changed, Cow::Borrowed(&[])).await
    }
}

/// The error of the last attempt or connection that failed; empty if none did.
pub(super) fn last_error(status: &Status) -> String {
    let failure = status.last_failure.as_ref();
    failure.map(|failure| failure.reason.to_string().replace('\0', "?")).unwrap_or_default()
}

/// When the connection was established, in seconds since 1970-01-01 UTC by the current clock; 0 while there is
/// none.
pub(super) fn connected_since(client: &Client) -> u64 {
    client.health().connected_since.unwrap_or(0)
}
