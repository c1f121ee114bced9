//! Everything that a support engineer asks of a device: the health of its connection, and what only the
//! service knows beside it.

use fedecks_device::Client;
use fedecks_network_watch::NetworkSource;
use fedecks_protocol::{Term, TermError};
use serde::ser::Error;
use tokio::sync::watch;

use crate::provisioning::ProvisioningReport;

/// Sources of the device's health report.
#[derive(Debug, Clone)]
pub(crate) struct DeviceHealth {
    pub(crate) client: Client,
    /// What says who the device is: `configuration`, `serial-number`, `machine-id`, `mac` or `hostname`.
    pub(crate) id_source: &'static str,
    /// Which source watches the network; none while nothing does.
    pub(crate) network_source: watch::Receiver<Option<NetworkSource>>,
    /// Where credentials for a login may lie, and what became of them.
    pub(crate) provisioning: watch::Receiver<ProvisioningReport>,
}

impl DeviceHealth {
    /// All of it as of now: a map with the keys of
    /// [`ConnectionHealth`](fedecks_device::ConnectionHealth) and, among them, the service's own.
    pub(crate) fn examine(&self) -> Result<Term, TermError> {
        let Term::Map(connection) = Term::from_serialize(&self.client.health())? else {
            return Err(TermError::custom("the health of the connection is no map"));
        };
        let mut health = vec![(Term::from("version"), Term::from(env!("CARGO_PKG_VERSION")))];
        for (key, value) in connection {
            let next = match key.as_str() {
                Some("device_id") => Some(("device_id_from", Term::from(self.id_source))),
                Some("network") => {
                    let source = self.network_source.borrow().map_or("none", NetworkSource::name);
                    Some(("network_source", Term::from(source)))
                }
                Some("store") => {
                    let sources = Term::from_serialize(&self.provisioning.borrow().sources)?;
                    Some(("provisioning", sources))
                }
                Some(_) | None => None,
            };
            health.push((key, value));
            health.extend(next.map(|(key, value)| (Term::from(key), value)));
        }
        Ok(Term::Map(health))
    }
}

#[cfg(test)]
impl DeviceHealth {
    /// That of a client about which nothing else is known.
    pub(crate) fn of(client: Client) -> Self {
        Self {
            client,
            id_source: "configuration",
            network_source: watch::channel(None).1,
            provisioning: watch::channel(ProvisioningReport::default()).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::DeviceId;

    use super::*;

    #[tokio::test]
    async fn the_keys_of_the_health_and_their_order_are_frozen() {
        let folder = tempfile::tempdir().unwrap();
        let url = "ws://127.0.0.1:1".parse().unwrap();
        let client = Client::builder(url, DeviceId::new("d").unwrap()).data_dir(folder.path());
        let health = DeviceHealth::of(client.start().unwrap()).examine().unwrap();
        let Term::Map(entries) = health else { panic!("not a map") };
        let keys: Vec<_> = entries.iter().filter_map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "version",
                "device_id",
                "device_id_from",
                "url",
                "uptime_s",
                "state",
                "state_for_s",
                "connected_since",
                "next_attempt_in_ms",
                "network",
                "network_source",
                "attempts",
                "failures",
                "last_failure",
                "last_refusal",
                "token",
                "store",
                "provisioning",
                "clock",
                "traffic",
                "round_trip_ms",
            ]
        );
    }
}
