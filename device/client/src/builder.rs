//! The client's settings and how it is started.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{Config, Connection, DiskLimits, Positions, State};
use fedecks_protocol::DeviceId;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use crate::client::Client;
use crate::clock::{Alarm, BootClock, WallClock};
use crate::deliveries;
use crate::dial::Target;
use crate::driver::{Driver, Executor};
use crate::error::StartError;
use crate::event_queue::QueueLimits;
use crate::events::{self, Events};
use crate::health::Vitals;
use crate::requests;
use crate::status::Status;
use crate::storage::{DataDir, DiskQueue, NonceFile, PositionsFile, StoreError, TokenStore};
use crate::store_jobs::StoreJobs;
use crate::tls::{TlsOptions, TrustedTime};
use crate::unsent::Unsent;
use crate::url::CloudUrl;
use crate::watchdog::Watchdog;

/// The settings of a [`Client`]; created by [`Client::builder`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use fedecks_device::{Client, DeviceId, Trust};
///
/// let builder = Client::builder("wss://cloud.example".parse()?, DeviceId::new("kitchen-1")?)
///     .data_dir("/data/fedecks")
///     .tls(Trust::Only("/etc/fedecks/ca.pem".into()))
///     .backoff(Duration::from_secs(1), Duration::from_secs(120));
/// # drop(builder);
/// # Ok(()) }
/// ```
#[must_use]
pub struct ClientBuilder {
    url: CloudUrl,
    core: Config,
    data_dir: DataDir,
    tls: TlsOptions,
    event_queue: usize,
    max_waiting: usize,
    watchdog: Option<Watchdog>,
    runtime_dir: Option<PathBuf>,
    waits: bool,
}

/// How long the start waits for a disk that does not respond.
const DISK_TIMEOUT: Duration = Duration::from_secs(5);

/// Capacity of the queue of commands and of the queue of messages.
const QUEUE: usize = 16;

/// The least that any limit of memory is set to, in bytes.
const LEAST_MEMORY: usize = 64 * 1024;

/// The least that the queue on disk is limited to, in bytes.
const LEAST_QUEUE: u64 = 1024 * 1024;

impl Client {
    /// The memory of kept messages by default, see [`ClientBuilder::keep_bytes`].
    pub const KEEP_BYTES: usize = 1024 * 1024;

    /// The bytes on disk and the messages there by default, see [`ClientBuilder::queue_limits`].
    pub const QUEUE_LIMITS: (u64, u64) = (16 * 1024 * 1024, 50_000);

    /// What may wait in either direction by default, see [`ClientBuilder::max_waiting`].
    pub const MAX_WAITING: usize = 2 * 1024 * 1024;

    /// Settings for the cloud at `url`. `ws://` is for tests only: nothing is encrypted then.
    pub fn builder(url: CloudUrl, device_id: DeviceId) -> ClientBuilder {
        let mut core = Config::new(device_id);
        core.disk = Some(DiskLimits::default());
        ClientBuilder {
            url,
            core,
            data_dir: "/var/lib/fedecks".into(),
            tls: TlsOptions::default(),
            event_queue: 64,
            max_waiting: Self::MAX_WAITING,
            watchdog: None,
            runtime_dir: None,
            waits: false,
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
    pub fn tls(mut self, options: impl Into<TlsOptions>) -> Self {
        self.tls = options.into();
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

    /// Capacity of the event queue, 64 by default. A reader of [`Events`] with three quarters of that unread, or
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

    /// How much memory the messages may take that are kept until the cloud has acknowledged them, see
    /// [`Client::send_kept`], in bytes; 1 MiB by default, at least 64 KiB.
    pub fn keep_bytes(mut self, bytes: usize) -> Self {
        self.core.keep_bytes = bytes.max(LEAST_MEMORY) as u64;
        self
    }

    /// How many bytes of files and how many messages may be kept on disk, see [`Keep::on_disk`](crate::kept::Keep);
    /// 16 MiB and 50,000 by default, at least 1 MiB and 16. A tenth of the partition, or 8 MiB if that is less, is left
    /// free besides.
    pub fn queue_limits(mut self, max_bytes: u64, max_messages: u64) -> Self {
        let (max_bytes, max_messages) = (max_bytes.max(LEAST_QUEUE), max_messages.max(16));
        self.core.disk = Some(DiskLimits { max_bytes, max_messages });
        self
    }

    /// A directory in memory, such as `/run/fedecks`, which survives this process and not the power. In it the client
    /// stores which kept messages from the cloud are acknowledged, each time before the cloud learns it, so that none
    /// comes again after a crash. Without it some may, flagged. The event loop writes there itself.
    pub fn runtime_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.runtime_dir = Some(directory.into());
        self
    }

    /// Kept messages from the cloud wait for the first consumer, see [`Client::deliveries`], instead of being passed to
    /// the [`Events`] until there is one.
    pub fn wait_for_consumer(mut self, waits: bool) -> Self {
        self.waits = waits;
        self
    }

    /// Calls `feed` from the event loop at least once per interval, without extra wake-ups if the loop
    /// iterates often enough anyway. This proves that the loop makes progress, not that the cloud can be
    /// reached.
    pub fn watchdog(mut self, interval: Duration, feed: impl FnMut() + Send + 'static) -> Self {
        self.watchdog = Some(Watchdog::new(interval.max(Duration::from_millis(1)), feed));
        self
    }

    /// Reads all files that the settings name, as [`ClientBuilder::start`] does, but starts nothing. Blocks on the
    /// disk.
    pub fn check(&self) -> Result<(), StartError> {
        self.target(&TrustedTime::new(WallClock::system(), self.data_dir.path())).map(|_| ())
    }

    /// The file of the positions, and what is in it.
    fn positions(&self) -> (Option<PositionsFile>, Option<Positions>) {
        let Some(directory) = &self.runtime_dir else { return (None, None) };
        let file = PositionsFile::new(directory, self.core.device_id.clone());
        let positions = file.load().unwrap_or_else(|error| {
            warn!(%error, "cannot read which kept messages are acknowledged: some may come again");
            None
        });
        (Some(file), positions)
    }

    fn target(&self, trusted_time: &TrustedTime) -> Result<Target, StartError> {
        let (url, time, core) = (self.url.clone(), trusted_time.clone(), &self.core);
        Ok(Target::new(url, &self.tls, time, core.dialect, &core.limits)?)
    }

    /// Starts the client as a task of the current tokio runtime, and returns once it has looked for a token in the
    /// data directory. With a token it connects; without one its state is [`State::Unregistered`] and it waits for
    /// a login. Only if the disk does not respond for 5 s, the state is still [`State::Loading`] when this returns.
    ///
    /// The [`Events`] have everything from the start on, such as [`Event::Unregistered`](crate::Event::Unregistered).
    /// Drop them if you need none.
    ///
    /// Fails with [`StartError::InUse`] if another client uses the data directory; one that was shut down has
    /// released it when [`Client::shutdown`] returns.
    pub async fn start(self) -> Result<(Client, Events), StartError> {
        let data_dir = take(self.data_dir.clone()).await?;
        let trusted_time = TrustedTime::new(WallClock::system(), data_dir.path());
        let time = trusted_time.clone();
        let (settings, target, positions) = off_the_executor(move || {
            let target = self.target(&time);
            let positions = self.positions();
            (self, target, positions)
        })
        .await;
        let (client, events) = settings.spawn(data_dir, trusted_time, target?, positions)?;
        let mut status = client.watch_status();
        let looked = status.wait_for(|status| status.state != State::Loading);
        if timeout(DISK_TIMEOUT, looked).await.is_err() {
            warn!("the data directory does not respond, whether there is a token is not known yet");
        }
        Ok((client, events))
    }

    fn spawn(
        self,
        data_dir: DataDir,
        trusted_time: TrustedTime,
        target: Target,
        (file, positions): (Option<PositionsFile>, Option<Positions>),
    ) -> Result<(Client, Events), StartError> {
        let device = self.core.device_id.clone();
        if !self.url.is_secure() {
            warn!("nothing is encrypted: the URL starts with ws://");
        }
        let tokens = TokenStore::new(&data_dir, device.clone());
        let nonces = NonceFile::new(&data_dir, device.clone());
        let limits = self.core.disk.unwrap_or_default();
        let queue = DiskQueue::new(&data_dir, &device, limits, self.core.limits.max_size);
        let store = StoreJobs::new(tokens, nonces, queue);
        let alarm = Alarm::new().map_err(StartError::Timer)?;
        // A slow subscription must pause the connection for far less than the pong deadline.
        let limits = QueueLimits {
            events: self.event_queue,
            weight: queue_weight(self.max_waiting, self.core.limits.max_size),
        };
        let (publisher, events) = events::queue(limits, self.core.pong_deadline / 5);
        // Before anything can happen.
        let first = events.subscribe();
        let mut core = Connection::new(self.core, rand::random());
        positions.iter().for_each(|positions| core.restore_positions(positions));

        let (commands, command_queue) = mpsc::channel(QUEUE);
        let (messages, message_queue) = mpsc::channel(QUEUE);
        let now = BootClock::now();
        let (status_sender, status) = watch::channel(Status::of(&core, now));
        let vitals = Vitals {
            device_id: device.clone(),
            url: self.url,
            data_dir: data_dir.path().to_owned(),
            started: now,
            traffic: target.traffic(),
            trusted_time: trusted_time.clone(),
        };
        let (asker, asked, requests) = requests::channel();
        let (lanes, dispatcher) = deliveries::lanes(self.waits, file, target.traffic());
        let executor = Executor::new(
            core,
            device,
            target,
            store,
            trusted_time,
            (publisher, asked, dispatcher),
            status_sender,
        );
        let driver = Driver {
            executor,
            alarm,
            commands: command_queue,
            messages: message_queue,
            requests,
            watchdog: self.watchdog,
        };
        tokio::spawn(driver.run());
        let vitals = Arc::new(vitals);
        let unsent = Unsent::new(self.max_waiting);
        Ok((Client { commands, messages, unsent, asker, lanes, events, status, vitals }, first))
    }
}

/// The directory with its lock. That is taken, unless the caller keeps it.
async fn take(data_dir: DataDir) -> Result<DataDir, StartError> {
    if data_dir.has_lock() {
        return Ok(data_dir);
    }
    let data_dir = DataDir::new(data_dir.path());
    let on_disk = data_dir.clone();
    match timeout(DISK_TIMEOUT, off_the_executor(move || on_disk.lock())).await {
        Ok(Err(error @ StoreError::InUse { .. })) => return Err(StartError::InUse(error)),
        // Reading the token reports that it does not exist.
        Ok(Ok(()) | Err(StoreError::NoDirectory { .. })) => {}
        Ok(Err(error)) => warn!(%error, "another process could use the data directory as well"),
        Err(_) => {
            warn!("the data directory does not respond, another process could use it as well")
        }
    }
    Ok(data_dir)
}

/// Runs what blocks on the disk. A panic in it is one here.
async fn off_the_executor<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(job).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
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
