//! Sends the device's health to the cloud at an interval.

use std::time::Duration;

use fedecks_device::Client;
use fedecks_device::error::ClientSendError;
use fedecks_device_core::{SendError, State};
use fedecks_protocol::Term;
use tracing::{debug, warn};

use crate::health::DeviceHealth;

/// The only key of the map that is sent.
const HEALTH_KEY: &str = "fedecks.health";

/// Sends a report while connected if the last one is `interval` old, until the client ends.
pub(crate) async fn run(client: Client, interval: Duration, health: DeviceHealth) {
    let mut status = client.watch_status();
    while status.wait_for(|status| status.state == State::Connected).await.is_ok() {
        let sent = match health.to_term() {
            Ok(health) => client.send(&Term::Map(vec![(Term::from(HEALTH_KEY), health)])).await,
            Err(error) => Err(error.into()),
        };
        match sent {
            Ok(()) => debug!("sent a health report"),
            Err(ClientSendError::Stopped(_)) => return,
            // Wait for the next connection.
            Err(ClientSendError::Send(SendError::NotConnected)) => continue,
            Err(error) => warn!(%error, "cannot send the health report"),
        }
        tokio::time::sleep(interval).await;
    }
}
