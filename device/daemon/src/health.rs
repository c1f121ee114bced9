//! The health of the device: that of its connection, with the keys that only the service knows.

use std::sync::Arc;

use fedecks_device::Client;
use fedecks_network_watch::NetworkSource;
use fedecks_protocol::{Term, TermError};
use tokio::sync::watch;

use crate::provisioning::ProvisioningStatus;

/// The sources of the health report.
#[derive(Debug, Clone)]
pub(crate) struct DeviceHealth {
    pub(crate) client: Client,
    /// The source of the device id: `configuration`, `serial-number`, `machine-id`, `mac` or `hostname`.
    pub(crate) id_source: &'static str,
    /// The active source of network changes, if any.
    pub(crate) network_source: watch::Receiver<Option<NetworkSource>>,
    pub(crate) provisioning: watch::Receiver<ProvisioningStatus>,
    /// What is wrong with the configuration.
    pub(crate) configuration: Arc<[String]>,
    /// What is wrong with a data directory in memory.
    pub(crate) volatile_data: watch::Receiver<Option<String>>,
}

impl DeviceHealth {
    /// The current health: a map with the keys of [`ConnectionHealth`](fedecks_device::health::ConnectionHealth), and
    /// the service's own in between.
    pub(crate) fn to_term(&self) -> Result<Term, TermError> {
        let network_source = self.network_source.borrow().map_or("none", NetworkSource::name);
        let provisioning = Term::from_serialize(&self.provisioning.borrow().sources)?;
        let volatile = self.volatile_data.borrow().clone();
        let warnings = self.configuration.iter().chain(&volatile);
        let warnings: Vec<_> = warnings.map(|line| Term::from(&**line)).collect();
        let configuration = if warnings.is_empty() { Term::Nil } else { Term::List(warnings) };
        let mut health = Term::from_serialize(&self.client.health())?;
        if let Term::Map(entries) = &mut health {
            entries.insert(0, ("version".into(), env!("CARGO_PKG_VERSION").into()));
            let missing = fedecks_common::log::stats();
            let missing = missing.dropped.saturating_add(missing.suppressed);
            for (before, key, value) in [
                ("device_id", "device_id_from", Term::from(self.id_source)),
                ("network", "network_source", network_source.into()),
                ("store", "provisioning", provisioning),
                ("clock", "log_lines_missing", missing.into()),
                ("log_lines_missing", "configuration", configuration),
            ] {
                let at = entries.iter().position(|(key, _)| key.as_str() == Some(before));
                entries.insert(at.map_or(entries.len(), |at| at + 1), (key.into(), value));
            }
        }
        Ok(health)
    }
}

#[cfg(test)]
impl DeviceHealth {
    /// The health of a client that has not logged in.
    pub(crate) async fn unregistered(data_dir: &std::path::Path) -> Self {
        let id = fedecks_protocol::DeviceId::new("d").unwrap();
        let client = Client::builder("ws://127.0.0.1:1".parse().unwrap(), id).data_dir(data_dir);
        Self {
            client: client.start().await.unwrap().0,
            id_source: "configuration",
            network_source: watch::channel(None).1,
            provisioning: watch::channel(ProvisioningStatus::default()).1,
            configuration: Arc::default(),
            volatile_data: watch::channel(None).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "version device_id device_id_from url uptime_s state state_for_s \
        connected_since next_attempt_in_ms network network_source attempts failures last_failure \
        last_refusal token store provisioning clock log_lines_missing configuration traffic queue inbox round_trip_ms";

    #[tokio::test]
    async fn the_keys_of_the_health_and_their_order_are_frozen() {
        let folder = tempfile::tempdir().unwrap();
        let health = DeviceHealth::unregistered(folder.path()).await.to_term().unwrap();
        let Term::Map(entries) = health else { panic!("not a map") };
        let keys: Vec<_> = entries.iter().filter_map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys.join(" "), KEYS);
    }
}
