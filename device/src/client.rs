use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{
    Config, Connection, LoggedIn, LoginError, Network, NotRegistered, SendError,
};
use fedecks_protocol::{Credentials, DeviceId, Term, TermError, UpFrame};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::clock::{Alarm, BootClock, WallClock};
use crate::dial::Target;
use crate::driver::{Command, Driver, Outbound, Watchdog};
use crate::events::{self, Subscription, Subscriptions};
use crate::health::{ConnectionHealth, Vitals};
use crate::status::Status;
use crate::store::TokenStore;
use crate::tls::{TlsError, TlsOptions};
use crate::trusted_time::TrustedTime;
use crate::url::CloudUrl;

/// The device's connection to its cloud. Cloning it gives another handle to the same connection,
/// which ends when the last handle is gone or by [`Client::shutdown`].
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    messages: mpsc::Sender<Outbound>,
    events: Subscriptions,
    status: watch::Receiver<Status>,
    vitals: Arc<Vitals>,
}

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

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or key file is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gave no timer.
    #[error("the system gave no timer on CLOCK_BOOTTIME: {0}")]
    Timer(#[source] std::io::Error),
}

/// Why a value was not sent. The caller still has it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientSendError {
    /// The value has no form that travels.
    #[error("the value cannot be sent: {0}")]
    Value(#[from] TermError),
    /// There is no connection, or the value is too big or too deep.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a logout is not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// The token is forgotten, but what is on disk could not be removed.
    #[error("logged out, but the token could not be removed from the disk yet: {0}")]
    StillStored(String),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why there is no attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReconnectError {
    /// There is nothing to connect with.
    #[error(transparent)]
    NotRegistered(#[from] NotRegistered),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The client was shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client was shut down")]
pub struct Stopped;

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

    /// Logs in. While the cloud cannot be reached the login goes on waiting, also when the future
    /// is dropped; it ends when the cloud answers, at a newer login, a logout or the shutdown.
    ///
    /// The credentials are kept in memory until then and nowhere else. A token that is there
    /// already is given up only for the one that this login brings.
    pub async fn login(&self, credentials: Credentials) -> Result<LoggedIn, LoginError> {
        let (answer, answered) = oneshot::channel();
        let stopped = LoginError::GivenUp("the end of the program");
        if self.commands.send(Command::Login { credentials, answer }).await.is_err() {
            return Err(stopped);
        }
        answered.await.unwrap_or(Err(stopped))
    }

    /// Ends the connection and forgets the token. Returns when nothing of it is on disk any more, or
    /// cannot be removed; that is tried again.
    pub async fn logout(&self) -> Result<(), LogoutError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Logout { answer }).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)?.map_err(LogoutError::StillStored)
    }

    /// Ends the connection or the wait that there is, even one that the cloud asked for, and dials at
    /// once. Returns when the attempt has begun.
    pub async fn reconnect(&self) -> Result<(), ReconnectError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Reconnect { answer }).await.map_err(|_| Stopped)?;
        Ok(answered.await.map_err(|_| Stopped)??)
    }

    /// Sends any serializable value. Returns when the message was handed to the connection, which
    /// says nothing yet about its arrival; waits while an earlier one has not left. Dropping the future
    /// does not take back a message that waits.
    pub async fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), ClientSendError> {
        let term = Term::from_serialize(value)?;
        self.send_frame(UpFrame::Message { sequence: None, term }).await
    }

    /// Sends bytes as they are, otherwise as [`Client::send`].
    pub async fn send_raw(&self, bytes: &[u8]) -> Result<(), ClientSendError> {
        self.send_frame(UpFrame::Raw { sequence: None, bytes: bytes.to_vec() }).await
    }

    /// Tells what is known of the network: the connection dials at once when it is back, and makes
    /// sure that a connection is alive when it changed.
    pub async fn network(&self, network: Network) -> Result<(), Stopped> {
        self.commands.send(Command::Network(network)).await.map_err(|_| Stopped)
    }

    /// Closes the connection and waits until it is closed and the token is on disk, at most five
    /// seconds. The token stays.
    pub async fn shutdown(&self) {
        // A loop that has ended already is just what is asked for.
        let _ = self.commands.send(Command::Shutdown).await;
        // The loop has the other end until it has ended.
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// The events from now on: connection changes and messages from the cloud.
    pub fn subscribe(&self) -> Subscription {
        self.events.subscribe()
    }

    /// What the connection is doing.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Everything that is known of the connection's health.
    pub fn health(&self) -> ConnectionHealth {
        self.vitals.examine(&self.status.borrow())
    }

    /// Who the device is.
    pub fn device_id(&self) -> &DeviceId {
        &self.vitals.device_id
    }

    /// Where its cloud is.
    pub fn url(&self) -> &CloudUrl {
        &self.vitals.url
    }

    /// A receiver that sees each change of the status.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the connection has ended, by [`Client::shutdown`] or by itself.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    async fn send_frame(&self, frame: UpFrame) -> Result<(), ClientSendError> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Outbound { frame, answer }).await.map_err(|_| Stopped)?;
        Ok(answered.await.map_err(|_| Stopped)??)
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
        let (publisher, events) = events::queue(self.event_queue, self.core.pong_deadline / 5);
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
