//! The settings of a client, and its start.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{Config, Connection};
use fedecks_protocol::DeviceId;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::client::Client;
use crate::clock::{Alarm, BootClock, WallClock};
use crate::dial::Target;
use crate::driver::{Driver, Watchdog};
use crate::error::StartError;
use crate::health::Vitals;
use crate::status::Status;
use crate::storage::TokenStore;
use crate::subscription;
use crate::tls::{TlsOptions, TrustedTime};
use crate::url::CloudUrl;

/// Settings of a [`Client`]; made by [`Client::builder`].
#[must_use]
pub struct ClientBuilder {
    url: CloudUrl,
    core: Config,
    data_dir: PathBuf,
    tls: TlsOptions,
    event_queue: usize,
    watchdog: Option<Watchdog>,
}

/// How many commands may wait for the loop, and how many messages.
const QUEUE: usize = 16;

impl Client {
    /// Settings for the cloud at `url`. One that begins with `ws://` is for trials: nothing is
    /// encrypted then.
    pub fn builder(url: CloudUrl, device_id: DeviceId) -> ClientBuilder {
        ClientBuilder {
            url,
            core: Config::new(device_id),
            data_dir: PathBuf::from("/var/lib/fedecks"),
            tls: TlsOptions::default(),
            event_queue: 64,
            watchdog: None,
        }
    }
}

impl ClientBuilder {
    /// Where the token is kept: a folder on a partition that survives updates. `/var/lib/fedecks`
    /// where nothing else is said.
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = folder.into();
        self
    }

    /// Which certificates are trusted and which this device shows.
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = options;
        self
    }

    /// Bounds of the random waits between attempts: the first one's, at least 10 ms, and the longest.
    /// 1 s and 300 s where nothing else is said.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.core.backoff_base = base.max(Duration::from_millis(10));
        self.core.backoff_cap = cap;
        self
    }

    /// How long anything may take to come back after a ping before the connection counts as dead;
    /// 10 s where nothing else is said, at least 100 ms and at most 30 s.
    pub fn pong_deadline(mut self, deadline: Duration) -> Self {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(30));
        self.core.pong_deadline = deadline.clamp(least, most);
        self
    }

    /// How many events a subscription may be behind; 64 where nothing else is said. One that is further
    /// behind than three quarters of that makes the cloud wait for a fifth of the pong deadline; after that it misses some. A message can be as big as 1 MiB, and its term takes more memory than its bytes.
    pub fn event_queue(mut self, events: usize) -> Self {
        self.event_queue = events.clamp(1, 65_536);
        self
    }

    /// Calls `pat` from the connection's own loop, at the latest after each such interval and by
    /// turns of the loop that happen anyway where those come often enough. A watchdog that is fed by
    /// it proves that the loop makes progress, not that the cloud can be reached.
    pub fn watchdog(mut self, interval: Duration, pat: impl FnMut() + Send + 'static) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        self.watchdog = Some(Watchdog { interval, pat: Box::new(pat) });
        self
    }

    /// Reads all that the settings name, as [`ClientBuilder::start`] does, and starts nothing.
    pub fn check(&self) -> Result<(), StartError> {
        self.target(&TrustedTime::new(WallClock::system(), &self.data_dir)).map(|_| ())
    }

    fn target(&self, trusted_time: &TrustedTime) -> Result<Target, StartError> {
        let time = trusted_time.clone();
        let core = &self.core;
        Ok(Target::new(self.url.clone(), &self.tls, time, core.dialect, &core.limits)?)
    }

    /// Starts the connection as a task of the tokio runtime in which this is called. It begins with
    /// the token from the data folder, if there is one; otherwise it waits for a login.
    pub fn start(self) -> Result<Client, StartError> {
        let device = self.core.device_id.clone();
        let trusted_time = TrustedTime::new(WallClock::system(), &self.data_dir);
        let target = self.target(&trusted_time)?;
        if !self.url.is_secure() {
            warn!("nothing is encrypted: the URL begins with ws://");
        }
        let store = TokenStore::new(&self.data_dir, device.clone());
        let alarm = Alarm::new().map_err(StartError::Timer)?;
        // The connection waits for a subscription far less than it waits for a pong.
        let (publisher, events) =
            subscription::queue(self.event_queue, self.core.pong_deadline / 5);
        let core = Connection::new(self.core, rand::random());

        let (commands, command_queue) = mpsc::channel(QUEUE);
        let (messages, message_queue) = mpsc::channel(QUEUE);
        let now = BootClock::now();
        let (status_sender, status) = watch::channel(Status::of(&core, now));
        let vitals = Vitals {
            device_id: device.clone(),
            url: self.url,
            data_dir: self.data_dir,
            started: now,
            meter: target.meter(),
            trusted_time: trusted_time.clone(),
        };
        let driver = Driver {
            core,
            device,
            meter: target.meter(),
            target: Arc::new(target),
            store: Arc::new(store),
            trusted_time,
            alarm,
            commands: command_queue,
            messages: message_queue,
            events: publisher,
            status: status_sender,
            watchdog: self.watchdog,
        };
        tokio::spawn(driver.run());
        let vitals = Arc::new(vitals);
        Ok(Client { commands, messages, events, status, vitals })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &self.url.to_string())
            .field("device_id", &self.core.device_id)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}
