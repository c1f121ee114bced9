//! Devices on the device library, with their tokens on disk.

use std::time::Duration;

use fedecks_device::{Event, TlsOptions, Trust};
use fedecks_testing::device::Device;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::Target;
use crate::error::{Error, Result};
use crate::identity::Certificate;
use crate::tickets::HOST;

/// How long a device may take to notice that its cloud is gone, and to reconnect.
const PATIENCE: Duration = Duration::from_secs(60);

/// The device's waits between attempts: random, up to these, doubled after each failure.
pub(crate) const BACKOFF: Duration = Duration::from_secs(1);
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Devices as they are in the field: the device library, with its token on disk.
pub(crate) struct Devices(Vec<Device>);

impl Devices {
    /// Starts `count` devices, logs them in with the account, and waits until they are connected.
    pub(crate) async fn login(count: usize, target: &Target, trust: Option<&Certificate>) -> Self {
        let mut devices = Vec::new();
        for index in 0..count {
            let mut device = start(&format!("bench-device-{index:03}"), target, trust).await;
            // One after the other: the server hashes few passwords at once.
            device.login().await;
            devices.push(device);
        }
        Self(devices)
    }

    /// Each device's token on disk.
    pub(crate) fn tokens(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(Device::token_on_disk).collect()
    }

    /// Waits until each device has noticed that its cloud is gone.
    pub(crate) async fn lost(&mut self) -> Result<()> {
        for device in &mut self.0 {
            until(device, |event| matches!(event, Event::ConnectionLost { .. })).await?;
        }
        Ok(())
    }

    /// Has every device dial immediately, and waits until all are connected. Returns when the last
    /// one was.
    pub(crate) async fn reconnect(&mut self) -> Result<Instant> {
        let mut running = JoinSet::new();
        for mut device in self.0.drain(..) {
            running.spawn(async move {
                device.client.reconnect().await?;
                until(&mut device, |event| *event == Event::Connected).await?;
                Ok::<_, Error>((device, Instant::now()))
            });
        }
        let mut last = None;
        while let Some(back) = running.join_next().await {
            let (device, at) = back??;
            self.0.push(device);
            last = last.max(Some(at));
        }
        self.0.sort_by(|a, b| a.client.device_id().cmp(b.client.device_id()));
        last.ok_or_else(|| "there are no devices".into())
    }
}

async fn start(id: &str, target: &Target, trust: Option<&Certificate>) -> Device {
    let url = match trust {
        Some(_) => format!("wss://{HOST}:{}", target.address.port()),
        None => format!("ws://{}", target.address),
    };
    let trust = trust.map(|certificate| Trust::Only(certificate.chain.clone()));
    let tls = trust.map_or_else(TlsOptions::default, TlsOptions::new);
    Device::start_with(&url, id, move |builder| {
        builder.tls(tls.clone()).backoff(BACKOFF, MAX_BACKOFF)
    })
    .await
}

async fn until(device: &mut Device, wanted: impl Fn(&Event) -> bool) -> Result<()> {
    let found = async {
        while let Some(event) = device.events.next().await {
            if wanted(&event) {
                return Ok(());
            }
        }
        Err("the device has stopped".into())
    };
    match timeout(PATIENCE, found).await {
        Ok(found) => found,
        Err(_) => {
            let (id, status) = (device.client.device_id(), device.client.status());
            Err(format!("{id} has not lost or found its cloud in time: {status:?}").into())
        }
    }
}
