//! The client's settings and how it is started.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{Config, Connection};
use fedecks_protocol::DeviceId;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::client::Client;
use crate::clock::{Alarm, BootClock, WallClock};
use crate::dial::Target;
use crate::driver::{Driver, Executor, Watchdog};
use crate::error::StartError;
use crate::event_queue::QueueLimits;
use crate::health::Vitals;
use crate::status::Status;
use crate::storage::{DataDir, StoreError, TokenStore};
use crate::subscription;
use crate::tls::{TlsOptions, TrustedTime};
use crate::unsent::Unsent;
use crate::url::CloudUrl;

/// The settings of a [`Client`]; created by [`Client::builder`].
#[must_use]
pub struct ClientBuilder {
    url: CloudUrl,
    core: Config,
    data_dir: DataDir,
    tls: TlsOptions,
    event_queue: usize,
    max_waiting: usize,
    watchdog: Option<Watchdog>,
}

/// Capacity of the queue of commands and of the queue of messages.
const QUEUE: usize = 16;

/// The least that any limit of memory is set to, in bytes.
const LEAST_MEMORY: usize = 64 * 1024;

impl Client {
    /// What may wait in either direction by default, see [`ClientBuilder::max_waiting`].
    pub const MAX_WAITING: usize = 2 * 1024 * 1024;

    /// Settings for the cloud at `url`. `ws://` is for tests only: nothing is encrypted then.
    pub fn builder(url: CloudUrl, device_id: DeviceId) -> ClientBuilder {
        ClientBuilder {
            url,
            core: Config::new(device_id),
            data_dir: "/var/lib/fedecks".into(),
            tls: TlsOptions::default(),
            event_queue: 64,
            max_waiting: Self::MAX_WAITING,
            watchdog: None,
        }
    }
}

impl ClientBuilder {
    /// Where the token is stored: a directory on a partition that survives updates, `/var/lib/fedecks`
    /// by default. Only one client at a time may use it, see [`DataDir`]; the client takes its lock when it starts,
    /// unless it gets a [`DataDir::new`] whose lock the program takes itself.
    pub fn data_dir(mut self, directory: impl Into<DataDir>) -> Self {
        self.data_dir = directory.into();
        self
    }

    /// Which certificate authorities are trusted, and which certificate this device presents. The files are read
    /// at the start, which fails if they cannot be used, and again before each connection, which then uses what was
    /// read before.
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = options;
        self
    }

    /// Upper bounds of the random delays between attempts: of the first one (at least 10 ms), and of the
    /// longest one. 1 s and 300 s by default.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.core.backoff_base = base.max(Duration::from_millis(10));
        self.core.backoff_cap = cap;
        self
    }

    /// How long the cloud may send nothing after a ping before the connection counts as dead: 10 s by
    /// default, at least 100 ms and at most 30 s. Over a slow link it may take four times the measured
    /// round-trip time if that is longer, up to 30 s.
    pub fn pong_deadline(mut self, deadline: Duration) -> Self {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(30));
        self.core.pong_deadline = deadline.clamp(least, most);
        self
    }

    /// Capacity of the event queue, 64 by default. A subscription with three quarters of that unread, or
    /// with as many messages as [`ClientBuilder::max_waiting`] allows, pauses reading from the cloud, for a
    /// fifth of the pong deadline at most; after that it may miss events.
    pub fn event_queue(mut self, events: usize) -> Self {
        self.event_queue = events.clamp(1, 65_536);
        self
    }

    /// The most that a message from the cloud may take in memory when it is decoded, in bytes, see
    /// [`Term::weight`](fedecks_protocol::Term::weight); 4 MiB by default, at least 64 KiB. One that would
    /// take more is logged and ignored. The cloud sends none that is heavier than 4 MiB by default.
    pub fn max_decoded(mut self, bytes: usize) -> Self {
        self.core.limits.max_decoded = bytes.max(LEAST_MEMORY);
        self
    }

    /// The most that all messages from the cloud that wait for subscriptions may weigh together, in bytes,
    /// and the same for all messages that wait to be sent; 2 MiB by default, at least 64 KiB. A message
    /// weighs what its term does, but waits encoded. A heavier one waits alone.
    pub fn max_waiting(mut self, bytes: usize) -> Self {
        self.max_waiting = bytes.max(LEAST_MEMORY);
        self
    }

    /// Calls `feed` from the event loop at least once per interval, without extra wake-ups if the loop
    /// iterates often enough anyway. This proves that the loop makes progress, not that the cloud can be
    /// reached.
    pub fn watchdog(mut self, interval: Duration, feed: impl FnMut() + Send + 'static) -> Self {
        self.watchdog = Some(Watchdog::new(interval.max(Duration::from_millis(1)), feed));
        self
    }

    /// Reads all files that the settings name, as [`ClientBuilder::start`] does, but starts nothing.
    pub fn check(&self) -> Result<(), StartError> {
        self.target(&TrustedTime::new(WallClock::system(), self.data_dir.path())).map(|_| ())
    }

    fn target(&self, trusted_time: &TrustedTime) -> Result<Target, StartError> {
        let time = trusted_time.clone();
        let core = &self.core;
        Ok(Target::new(self.url.clone(), &self.tls, time, core.dialect, &core.limits)?)
    }

    /// Starts the client as a task of the current tokio runtime. It connects with the token from the
    /// data directory if there is one; otherwise it waits for a login. Fails with [`StartError::InUse`] if another
    /// client uses the data directory; one that was shut down has released it when [`Client::shutdown`] returns.
    pub fn start(self) -> Result<Client, StartError> {
        let device = self.core.device_id.clone();
        let data_dir = take(&self.data_dir)?;
        let trusted_time = TrustedTime::new(WallClock::system(), data_dir.path());
        let target = self.target(&trusted_time)?;
        if !self.url.is_secure() {
            warn!("nothing is encrypted: the URL starts with ws://");
        }
        let store = TokenStore::new(&data_dir, device.clone());
        let alarm = Alarm::new().map_err(StartError::Timer)?;
        // A slow subscription must pause the connection for far less than the pong deadline.
        let limits = QueueLimits {
            events: self.event_queue,
            weight: queue_weight(self.max_waiting, self.core.limits.max_size),
        };
        let (publisher, events) = subscription::queue(limits, self.core.pong_deadline / 5);
        let core = Connection::new(self.core, rand::random());

        let (commands, command_queue) = mpsc::channel(QUEUE);
        let (messages, message_queue) = mpsc::channel(QUEUE);
        let now = BootClock::now();
        let (status_sender, status) = watch::channel(Status::of(&core, now));
        let vitals = Vitals {
            device_id: device.clone(),
            url: self.url,
            data_dir: self.data_dir.path().to_owned(),
            started: now,
            traffic: target.traffic(),
            trusted_time: trusted_time.clone(),
        };
        let executor =
            Executor::new(core, device, target, store, trusted_time, publisher, status_sender);
        let driver = Driver {
            executor,
            alarm,
            commands: command_queue,
            messages: message_queue,
            watchdog: self.watchdog,
        };
        tokio::spawn(driver.run());
        let vitals = Arc::new(vitals);
        let unsent = Unsent::new(self.max_waiting);
        Ok(Client { commands, messages, unsent, events, status, vitals })
    }
}

/// The directory with its lock. That is taken, unless the caller keeps it.
fn take(data_dir: &DataDir) -> Result<DataDir, StartError> {
    if data_dir.has_lock() {
        return Ok(data_dir.clone());
    }
    let data_dir = DataDir::new(data_dir.path());
    match data_dir.lock() {
        Err(error @ StoreError::InUse { .. }) => return Err(StartError::InUse(error)),
        // The reader of the token reports that it does not exist.
        Ok(()) | Err(StoreError::NoDirectory { .. }) => {}
        Err(error) => warn!(%error, "another process could use the data directory as well"),
    }
    Ok(data_dir)
}

/// What may wait in the event queue, with room for the next message, which is read before it is known: but always
/// enough for the small events, however little is allowed.
fn queue_weight(max_waiting: usize, max_frame: usize) -> usize {
    max_waiting.saturating_sub(max_frame).max(max_waiting / 2)
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &self.url.to_string())
            .field("device_id", &self.core.device_id)
            .field("data_dir", &self.data_dir.path())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fedecks_device_core::Event;

    use super::*;
    use crate::event_queue::{EventQueue, Next, Queued};

    #[test]
    fn the_least_memory_is_enough_for_small_events() {
        let weight = queue_weight(LEAST_MEMORY, 1024 * 1024);
        let mut queue = EventQueue::new(QueueLimits { events: 64, weight });
        let reader = queue.join();
        for _ in 0..32 {
            queue.push(Queued::Event(Event::Connected));
        }
        for _ in 0..32 {
            assert_eq!(queue.next(reader), Next::Event(Queued::Event(Event::Connected)));
        }
        assert_eq!(queue_weight(Client::MAX_WAITING, 1024 * 1024), 1024 * 1024);
    }
}
