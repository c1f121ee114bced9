//! Sends the cloud a report of the device's health now and then.

use std::time::Duration;

use fedecks_device::{Client, ClientSendError};
use fedecks_device_core::{SendError, State};
use fedecks_protocol::Term;
use tracing::{debug, warn};

use crate::health::DeviceHealth;

/// The one key of the map that a report is.
const HEALTH_KEY: &str = "fedecks.health";

/// Sends a report when a connection is there and the last one is `interval` old, until the client
/// ends.
pub(crate) async fn report(client: Client, interval: Duration, health: DeviceHealth) {
    let mut status = client.watch_status();
    while status.wait_for(|status| status.state == State::Connected).await.is_ok() {
        let sent = match health.examine() {
            Ok(health) => client.send(&Term::Map(vec![(Term::from(HEALTH_KEY), health)])).await,
            Err(error) => Err(error.into()),
        };
        match sent {
            Ok(()) => debug!("sent a report of the health"),
            Err(ClientSendError::Stopped(_)) => return,
            // It went away just now: the next one is awaited.
            Err(ClientSendError::Send(SendError::NotConnected)) => continue,
            Err(error) => warn!(%error, "no report of the health was sent"),
        }
        tokio::time::sleep(interval).await;
    }
}
