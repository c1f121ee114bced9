//! Devices on the client library, with their tokens on disk.

use std::time::Duration;

use fedecks_device::{
    Client, CloudUrl, Credentials, DeviceId, Event, Subscription, TlsOptions, Trust,
};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::Target;
use crate::error::{Error, Result};
use crate::identity::{Certificate, HOST, PASSWORD, USER};

/// How long a device may take to log in, to notice that its cloud is gone, and to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Devices as they are in the field: the client library, with its token on disk.
pub(crate) struct Devices(Vec<Device>);

struct Device {
    client: Client,
    events: Subscription,
    data: TempDir,
}

/// What the device's events have to come to.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Connected,
    Lost,
}

impl Devices {
    /// Starts so many devices, logs them in with the account, and waits until they are connected.
    pub(crate) async fn login(
        count: usize,
        target: &Target,
        trust: Option<&Certificate>,
    ) -> Result<Self> {
        let mut devices = Vec::new();
        for index in 0..count {
            let mut device = Device::start(&format!("bench-device-{index:03}"), target, trust)?;
            // One after the other: the server hashes few passwords at once.
            device.login().await?;
            devices.push(device);
        }
        Ok(Self(devices))
    }

    /// What each device has on disk as its token.
    pub(crate) fn tokens(&self) -> Result<Vec<Vec<u8>>> {
        self.0.iter().map(Device::token).collect()
    }

    /// Waits until each device has noticed that its cloud is gone.
    pub(crate) async fn lost(&mut self) -> Result<()> {
        for device in &mut self.0 {
            device.until(Wanted::Lost).await?;
        }
        Ok(())
    }

    /// Has every device dial at once, whatever it waits for, and waits until all are connected.
    /// Returns when the last one was.
    pub(crate) async fn back(&mut self) -> Result<Instant> {
        let mut running = JoinSet::new();
        for mut device in self.0.drain(..) {
            running.spawn(async move {
                device.client.reconnect().await?;
                device.until(Wanted::Connected).await?;
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

impl Device {
    fn start(id: &str, target: &Target, trust: Option<&Certificate>) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("fedecks-bench-device-").tempdir()?;
        let scheme = if trust.is_some() { "wss" } else { "ws" };
        let host = if trust.is_some() { HOST.to_owned() } else { target.address.ip().to_string() };
        let url: CloudUrl = format!("{scheme}://{host}:{}", target.address.port()).parse()?;
        let mut builder = Client::builder(url, DeviceId::new(id)?).data_dir(data.path());
        if let Some(certificate) = trust {
            let trust = Trust::Only(certificate.chain.clone());
            builder = builder.tls(TlsOptions { trust, ..TlsOptions::default() });
        }
        let client = builder.start()?;
        let events = client.subscribe();
        Ok(Self { client, events, data })
    }

    async fn login(&mut self) -> Result<()> {
        let credentials = Credentials::new().with("username", USER).with("password", PASSWORD);
        let logged_in = timeout(PATIENCE, self.client.login(credentials)).await??;
        if !logged_in.persisted {
            return Err("a device could not keep its token".into());
        }
        self.until(Wanted::Connected).await
    }

    async fn until(&mut self, wanted: Wanted) -> Result<()> {
        let found = async {
            loop {
                match (self.events.next().await?, wanted) {
                    (Event::Connected, Wanted::Connected)
                    | (Event::ConnectionLost { .. }, Wanted::Lost) => return Ok(()),
                    _ => {}
                }
            }
        };
        let device = self.client.device_id();
        let status = || format!("{device} was not {wanted:?} in time: {:?}", self.client.status());
        timeout(PATIENCE, found).await.map_err(|_| status())?
    }

    fn token(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.data.path().join("token"))?)
    }
}
