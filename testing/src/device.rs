//! The device library with its data in a temporary folder.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fedecks_device::error::LoginError;
use fedecks_device::{
    Client, ClientBuilder, CloudUrl, Credentials, DeviceId, Event, Events, LoggedIn, Term,
};
use tempfile::TempDir;

use crate::wait::within;
use crate::{PASSWORD, USER};

/// A device that waits at most half a second between attempts.
pub struct Device {
    /// The connection.
    pub client: Client,
    /// What has happened since the start.
    pub events: Events,
    /// The device's data.
    pub data: TempDir,
    builder: Box<dyn Fn(&Path) -> ClientBuilder + Send + Sync>,
}

impl Device {
    /// Dials `ws://address`.
    pub async fn start(address: SocketAddr, id: &str) -> Self {
        Self::start_with(&format!("ws://{address}"), id, |builder| builder).await
    }

    /// Dials `ws://address` and logs in.
    pub async fn logged_in(address: SocketAddr, id: &str) -> Self {
        let mut device = Self::start(address, id).await;
        device.login().await;
        device
    }

    /// Dials `url`, with other settings.
    pub async fn start_with(
        url: &str,
        id: &str,
        settings: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let (url, id) = (url.parse::<CloudUrl>().unwrap(), DeviceId::new(id).unwrap());
        let builder = move |data: &Path| {
            let builder = Client::builder(url.clone(), id.clone())
                .data_dir(data)
                .backoff(Duration::from_millis(50), Duration::from_millis(500));
            settings(builder)
        };
        let data = tempfile::tempdir().unwrap();
        let (client, events) = builder(data.path()).start().await.unwrap();
        Self { client, events, data, builder: Box::new(builder) }
    }

    /// Shuts down and starts again with the same data.
    pub async fn restart(self) -> Self {
        self.client.shutdown().await;
        let (client, events) = (self.builder)(self.data.path()).start().await.unwrap();
        Self { client, events, ..self }
    }

    /// Logs in by [`USER`] and [`PASSWORD`], and waits until it is connected.
    pub async fn login(&mut self) {
        let logged_in = self.try_login(USER, PASSWORD).await.unwrap();
        assert!(logged_in.persisted);
        self.until_connected().await;
    }

    /// Tries to log in.
    pub async fn try_login(&self, user: &str, password: &str) -> Result<LoggedIn, LoginError> {
        within(self.client.login(credentials(user, password))).await
    }

    /// The next event for which `wanted` is true; skips others.
    pub async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        within(async {
            loop {
                let event = self.events.next().await.unwrap();
                assert!(!matches!(event, Event::Missed { .. }), "{event}");
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }

    /// The next message; skips other events.
    pub async fn message(&mut self) -> Term {
        let event = self.until(|event| matches!(event, Event::Message(_))).await;
        let Event::Message(term) = event else { unreachable!() };
        term
    }

    /// Waits until it is connected.
    pub async fn until_connected(&mut self) {
        self.until(|event| *event == Event::Connected).await;
    }

    /// Waits until it has lost its connection.
    pub async fn until_lost(&mut self) {
        self.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    }

    /// The token's file.
    pub fn token_on_disk(&self) -> Vec<u8> {
        std::fs::read(self.data.path().join("token")).unwrap()
    }
}

/// A user name and a password.
pub fn credentials(user: &str, password: &str) -> Credentials {
    Credentials::new().with("username", user).with("password", password)
}
