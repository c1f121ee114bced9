//! The calls of the store: each is run by the thread that owns the database, within limits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fedecks_protocol::DeviceId;
use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, TransactionBehavior, params_from_iter};
use tokio::sync::{Semaphore, oneshot};

use super::audit_log::AuditLog;
use super::calls::{CloseOnDrop, Lane, NotQueued, Queue, Queued};
use super::file::{File, Use};
use super::group;
use super::worker::{self, CALL_TIMEOUT, Worker};
use crate::audit::{Actor, AuditAction, AuditEntry, AuditLimits};
use crate::boxed::StoreFuture;
use crate::counters::{Action, Counters};
use crate::epoch::Epoch;
use crate::error::StoreError;
use crate::notes::WriteBehind;
use crate::refused_before::RefusedBefore;
use crate::stats::{StoreMonitor, StoreStats};
use crate::time::unix_now;

/// The store in one SQLite file.
///
/// A dedicated thread owns the database. Calls wait for it in bounded queues, and are refused with
/// [`StoreError::Busy`] when those are full. What a login needs and what changes access is served before
/// everything else. Every call is answered within about 6 seconds: a call that
/// another process blocks does not delay the others, and fails after 5 seconds.
///
/// Only one server at a time may open a store: each of two would deliver its events to webhooks, and know only the
/// connections that it has itself. So a server holds a lock, on the file with `.lock` added to its name, and a second one gets
/// [`StoreError::InUse`]. The kernel releases the lock when the process ends, in whatever way. Programs that are not
/// servers may use the same file at the same time with [`SqliteStore::open_beside`], as the commands of `fedecks-cloud`
/// do while the server runs.
///
/// It survives failures of the file. While the disk is full, or the file is damaged or missing, calls fail
/// and notes are kept. As soon as the disk has room, or the file or a copy of it is back, the file is
/// reopened. A missing file is not created again while the store is open.
///
/// Dropping the store writes the pending notes, and waits for that.
///
/// ```no_run
/// # mod fedecks_cloud { pub use fedecks_store as store; }
/// use fedecks_cloud::store::{Actor, DeviceQuery, DeviceStore, SqliteStore};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = SqliteStore::open("fedecks.sqlite")?;
/// let blocked = DeviceQuery { blocked: Some(true), ..DeviceQuery::default() };
/// for device in store.devices_page(&blocked).await? {
///     store.unblock(&device.id, &Actor::cli()).await?;
/// }
/// # Ok(()) }
/// ```
pub struct SqliteStore {
    pub(super) location: Arc<str>,
    queue: Arc<Queue>,
    pub(super) write_behind: Arc<WriteBehind>,
    counters: Arc<Counters>,
    epoch: Arc<AtomicU64>,
    pub(super) log: AuditLog,
    pub(super) refused_before: RefusedBefore,
    reads: Semaphore,
    writes: Semaphore,
    later: Semaphore,
    bulk: Semaphore,
    shared: Semaphore,
    logins: Semaphore,
    thread: Option<JoinHandle<()>>,
}

/// Settings of a [`SqliteStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreOptions {
    /// How much the audit log keeps.
    pub audit: AuditLimits,
}

impl StoreOptions {
    /// These settings after `change`.
    ///
    /// ```
    /// # mod fedecks_cloud { pub use fedecks_store as store; }
    /// use fedecks_cloud::store::StoreOptions;
    ///
    /// let options = StoreOptions::default().with(|it| it.audit.logins.lines = 10_000);
    /// assert_eq!(options.audit.logins.lines, 10_000);
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// The number of reads, and of writes, without priority that may be queued for the thread at a time
/// (`calls::QUEUE_LENGTH` is for all). However much operators' programs request, a device that logs in
/// waits for no more than these.
pub(super) const MAX_CONCURRENT: usize = 16;

/// The number of calls for durable queues that may be queued for the thread at a time. They carry events, of up
/// to some megabytes each.
const MAX_BULK: usize = 2;

/// The number of calls that may share a transaction and may be queued for the thread at a time. They are many,
/// and small.
const MAX_SHARED: usize = 64;

/// The number of logins that may be queued for the thread at a time, so that they do not fill the lane of
/// revocations.
const MAX_LOGINS: usize = 256;

/// How long after its deadline the answer to a call may arrive.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(1);

impl SqliteStore {
    /// Creates an empty store at `path`, readable and writable by its owner only. It appears complete or not
    /// at all. The directory must exist. Fails with [`StoreError::Exists`] if there is a store, and never
    /// creates a file through a symbolic link.
    pub fn create(path: impl AsRef<Path>) -> Result<(), StoreError> {
        File::create(path.as_ref())
    }

    /// Fails as [`SqliteStore::create`] would if there is a store at `path`, or what is left of one.
    pub fn check_new(path: impl AsRef<Path>) -> Result<(), StoreError> {
        File::check_new(path.as_ref())
    }

    /// Opens the store at `path`, and creates it first if there is none. A program that must not lose
    /// revocations and blocks with a store that is not mounted uses [`SqliteStore::open_existing`], which also says
    /// what happens if there is another server.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, StoreOptions::default())
    }

    /// [`SqliteStore::open`] with other settings than the defaults.
    pub fn open_with(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if std::fs::symlink_metadata(path).is_err() {
            match File::create(path) {
                // By another process, meanwhile.
                Err(StoreError::Exists { .. }) => {}
                created => created?,
            }
        }
        Self::open_existing(path, options)
    }

    /// Opens the store at `path`. SQLite creates further files next to it, with the same permissions. A file
    /// of an older version is migrated to the current one. Fails with [`StoreError::Missing`] if there is no
    /// store, with [`StoreError::Empty`] if the file is empty, and with [`StoreError::InUse`] if another server has
    /// opened it and does not end within 5 seconds, for which this blocks.
    pub fn open_existing(
        path: impl AsRef<Path>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        Self::start(File::open(path.as_ref(), Use::Server)?, options)
    }

    /// [`SqliteStore::open_existing`] for a program that is not a server, which may be running.
    pub fn open_beside(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        Self::start(File::open(path.as_ref(), Use::Other)?, options)
    }

    /// A store that is gone when it is dropped, for tests and trials.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::start(File::in_memory()?, StoreOptions::default())
    }

    fn start(file: File, options: StoreOptions) -> Result<Self, StoreError> {
        let location = file.location().clone();
        let queue = Arc::new(Queue::default());
        let calls = CloseOnDrop(queue.clone());
        let write_behind = Arc::new(WriteBehind::default());
        let counters = Arc::new(Counters::default());
        let epoch = file.epoch();
        let log = AuditLog { limits: options.audit };
        let worker = Worker::new(file, write_behind.clone(), counters.clone(), log);
        let thread = std::thread::Builder::new()
            .name("fedecks-store".into())
            .spawn(move || worker.run(&calls.0))
            .map_err(|error| StoreError::failed(&location, "start the thread of", error))?;
        Ok(Self {
            location,
            queue,
            write_behind,
            counters,
            epoch,
            log,
            refused_before: RefusedBefore::default(),
            reads: Semaphore::new(MAX_CONCURRENT),
            writes: Semaphore::new(MAX_CONCURRENT),
            later: Semaphore::new(MAX_CONCURRENT),
            bulk: Semaphore::new(MAX_BULK),
            shared: Semaphore::new(MAX_SHARED),
            logins: Semaphore::new(MAX_LOGINS),
            thread: Some(thread),
        })
    }

    /// Runs `read` on the thread.
    pub(super) fn read<T: Send + 'static>(
        &self,
        read: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Read, Lane::Bulk, Some(&self.reads), read)
    }

    /// [`SqliteStore::read`] with priority, which is not subject to [`MAX_CONCURRENT`]: for what a device
    /// waits for, or all devices depend on.
    pub(super) fn read_first<T: Send + 'static>(
        &self,
        read: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Read, Lane::First, None, read)
    }

    /// [`SqliteStore::read_first`] for logins, of which strangers cause as many as they like.
    pub(super) fn read_for_login<T: Send + 'static>(
        &self,
        read: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Read, Lane::First, Some(&self.logins), read)
    }

    /// [`SqliteStore::read`] for durable queues, whose calls are few at a time.
    pub(super) fn read_bulk<T: Send + 'static>(
        &self,
        read: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Read, Lane::Bulk, Some(&self.bulk), read)
    }

    /// Runs `change` on the thread as one transaction. It is run again if another process has locked the
    /// file.
    pub(super) fn write<T: Send + 'static>(
        &self,
        change: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Write, Lane::First, Some(&self.writes), transaction(change))
    }

    /// [`SqliteStore::write`] for what changes no one's access, after the calls that do.
    pub(super) fn write_later<T: Send + 'static>(
        &self,
        change: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Write, Lane::Bulk, Some(&self.later), transaction(change))
    }

    /// [`SqliteStore::write`] for durable queues, after the calls of everyone else. A call is one step: it
    /// reads, writes or deletes no more than `queue::STEP_BYTES` and one item.
    pub(super) fn write_bulk<T: Send + 'static>(
        &self,
        change: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Write, Lane::Bulk, Some(&self.bulk), transaction(change))
    }

    /// [`SqliteStore::write_bulk`] for what a power cut may undo: the change is not synced to the disk.
    pub(super) fn write_bulk_unsynced<T: Send + 'static>(
        &self,
        change: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Write, Lane::Bulk, Some(&self.bulk), unsynced(transaction(change)))
    }

    /// [`SqliteStore::write_bulk`] for what many devices do at the same time. Such calls share a transaction, and so
    /// its sync, with those that wait behind them. May be run again alone, if another one fails.
    pub(super) fn write_shared<T: Send + 'static>(
        &self,
        change: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Write, Lane::Shared, Some(&self.shared), group::shared(change))
    }

    /// [`SqliteStore::read_bulk`] between such changes.
    pub(super) fn read_shared<T: Send + 'static>(
        &self,
        read: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.call(Action::Read, Lane::Shared, Some(&self.shared), read)
    }

    /// Runs `change` and adds a line to the audit log, in one transaction. If `change` returns
    /// `None`, it changed nothing, and no line is added.
    pub(super) fn write_audited<T: Send + 'static>(
        &self,
        by: &Actor,
        action: AuditAction,
        device: Option<&DeviceId>,
        detail: Option<&str>,
        mut change: impl FnMut(&Transaction<'_>) -> rusqlite::Result<Option<T>> + Send + 'static,
    ) -> StoreFuture<'_, Option<T>> {
        let (by, device, detail) = (by.clone(), device.cloned(), detail.map(str::to_owned));
        let mut line = AuditEntry { at: 0, by, action, device, detail };
        let log = self.log;
        self.write(move |tx| {
            let changed = change(tx)?;
            if changed.is_some() {
                line.at = unix_now();
                log.add(tx, &line)?;
            }
            Ok(changed)
        })
    }

    /// [`SqliteStore::write_audited`] for one statement. Returns whether it changed a row.
    pub(super) fn execute_audited(
        &self,
        sql: &'static str,
        values: Vec<Value>,
        by: &Actor,
        action: AuditAction,
        detail: Option<&str>,
    ) -> StoreFuture<'_, bool> {
        let changed = self.write_audited(by, action, None, detail, move |tx| {
            let rows = tx.execute(sql, params_from_iter(&values))?;
            Ok((rows > 0).then_some(()))
        });
        Box::pin(async move { Ok(changed.await?.is_some()) })
    }

    fn call<'a, T: Send + 'static>(
        &'a self,
        action: Action,
        lane: Lane,
        limit: Option<&'a Semaphore>,
        work: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        let since = Instant::now();
        let deadline = since + CALL_TIMEOUT;
        let (answer, result) = oneshot::channel();
        let job = worker::job(work, answer);
        Box::pin(async move {
            let _permit = match limit {
                None => None,
                Some(limit) => {
                    let turn = tokio::time::timeout_at(deadline.into(), limit.acquire()).await;
                    Some(turn.map_err(|_| self.busy())?)
                }
            };
            let queued = Queued { job, action, lane, since, deadline };
            self.queue.push(queued).map_err(|refused| match refused {
                NotQueued::Full => self.busy(),
                NotQueued::Closed => self.closed(),
            })?;
            // The thread answers in time, unless the disk itself hangs.
            let answered = tokio::time::timeout_at((deadline + ANSWER_GRACE).into(), result);
            match answered.await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(self.closed()),
                Err(_) => {
                    self.counters.timed_out();
                    Err(StoreError::Busy { location: self.location.to_string() })
                }
            }
        })
    }

    /// The error of a call that does not get its turn.
    pub(super) fn busy(&self) -> StoreError {
        self.counters.refused();
        StoreError::Busy { location: self.location.to_string() }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { location: self.location.to_string() }
    }
}

fn transaction<T>(
    mut change: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T>,
) -> impl FnMut(&mut Connection) -> rusqlite::Result<T> {
    move |database| {
        let tx = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&tx)?;
        tx.commit()?;
        Ok(done)
    }
}

/// With NORMAL a commit is in the write-ahead log, which the next commit with FULL syncs as far as it is then.
fn unsynced<T>(
    mut work: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
) -> impl FnMut(&mut Connection) -> rusqlite::Result<T> {
    move |database| {
        database.pragma_update(None, "synchronous", "NORMAL")?;
        let done = work(database);
        // Whatever the reason is, this error has the file closed, as the next change has to be synced.
        database
            .pragma_update(None, "synchronous", "FULL")
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        done
    }
}

impl Epoch for SqliteStore {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

impl StoreMonitor for SqliteStore {
    fn stats(&self) -> StoreStats {
        self.counters.snapshot(&self.write_behind, self.epoch())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}
