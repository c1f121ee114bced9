//! The calls of the store: each is done by the thread that holds the database, within bounds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, oneshot};

use super::audit_log::Log;
use super::file::File;
use super::notes::Notes;
use super::stats::{Action, Counters};
use super::worker::{self, Job, LINE, PATIENCE, Queued, Worker};
use crate::boxed::BoxFuture;
use crate::epoch::Epoch;
use crate::error::StoreError;
use crate::stats::{StoreMonitor, StoreStats};

/// The store in one SQLite file.
///
/// One thread of its own holds the database; calls wait in a bounded line before it and are refused
/// with [`StoreError::Busy`] once that is full. Every call is answered within about 6 seconds: what
/// waits for another process that holds the file does not hold up the others, and gives up after
/// 5 seconds. Other processes may use the same file at the same time, as the commands of
/// `fedecks-cloud` do beside the running server.
///
/// It outlives what happens to the file. While the disk is full, the file damaged or gone, calls fail
/// and notes are kept; once the disk has room, or the file or a copy of it is back in its place, it is
/// opened again and everything goes on. A file that is missing is not made anew while the store is
/// open.
///
/// Dropping the store writes what was noted last, and waits for that.
pub struct SqliteStore {
    location: Arc<str>,
    /// `None` only while dropping: its end is what ends the thread.
    jobs: Option<SyncSender<Queued>>,
    pub(super) notes: Arc<Notes>,
    counters: Arc<Counters>,
    epoch: Arc<AtomicU64>,
    pub(super) log: Log,
    reads: Semaphore,
    writes: Semaphore,
    thread: Option<JoinHandle<()>>,
}

/// The numbers that a [`SqliteStore`] goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// How many lines of the audit log are kept.
    pub audit_kept: u32,
}

impl Default for StoreOptions {
    /// 100,000 lines.
    fn default() -> Self {
        Self { audit_kept: 100_000 }
    }
}

/// How many calls that no device waits for may be in the line before the thread (`worker::LINE`), of
/// those that look and of those that change something. However much an operator's programs ask for, a
/// device that logs in waits for no more than these.
pub(super) const AT_ONCE: usize = 16;

/// How much longer than it may wait a call's answer may take.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

impl SqliteStore {
    /// Opens the file at `path`, or creates it, readable and writable by its owner only. The folder
    /// has to exist. Where SQLite needs more files it puts them beside it, with the same rights. A
    /// file of an older version of this program is brought up to this one's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, StoreOptions::default())
    }

    /// The same with other numbers than the default ones.
    pub fn open_with(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        Self::start(File::open(path.as_ref())?, options)
    }

    /// A store that is gone when it is dropped, for tests and trials.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::start(File::in_memory()?, StoreOptions::default())
    }

    fn start(file: File, options: StoreOptions) -> Result<Self, StoreError> {
        let location = file.location().clone();
        let (jobs, line) = sync_channel(LINE);
        let notes = Arc::new(Notes::default());
        let counters = Arc::new(Counters::default());
        let epoch = file.epoch();
        let log = Log { kept: options.audit_kept };
        let worker = Worker::new(file, notes.clone(), counters.clone(), log);
        let thread = std::thread::Builder::new()
            .name("fedecks-store".into())
            .spawn(move || worker.work(&line))
            .map_err(|error| StoreError::failed(&location, "start the thread of", error))?;
        let thread = Some(thread);
        Ok(Self {
            location,
            jobs: Some(jobs),
            notes,
            counters,
            epoch,
            log,
            reads: Semaphore::new(AT_ONCE),
            writes: Semaphore::new(AT_ONCE),
            thread,
        })
    }

    /// Has `look` done on the thread and waits for its result.
    pub(super) fn read<T: Send + 'static>(
        &self,
        look: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.call(Action::Read, Some(&self.reads), look)
    }

    /// The same for what devices wait for, or all of them depend on: it passes by the other calls'
    /// limit.
    pub(super) fn read_first<T: Send + 'static>(
        &self,
        look: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.call(Action::Read, None, look)
    }

    /// Has `change` done on the thread as one transaction and waits for its result. Where another
    /// process holds the file it is begun anew.
    pub(super) fn write<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.call(Action::Write, Some(&self.writes), move |database| {
            let writing = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = change(&writing)?;
            writing.commit()?;
            Ok(done)
        })
    }

    fn call<'a, T: Send + 'static>(
        &'a self,
        action: Action,
        limit: Option<&'a Semaphore>,
        work: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let since = Instant::now();
        let deadline = since + PATIENCE;
        let (answer, result) = oneshot::channel();
        let job: Box<dyn Job> = worker::job(work, answer);
        Box::pin(async move {
            let _permit = match limit {
                None => None,
                Some(limit) => {
                    let turn = tokio::time::timeout_at(deadline.into(), limit.acquire()).await;
                    Some(turn.map_err(|_| self.busy())?)
                }
            };
            let queued = Queued { job, action, since, deadline };
            let Some(jobs) = &self.jobs else { return Err(self.closed()) };
            jobs.try_send(queued).map_err(|error| match error {
                TrySendError::Full(_) => self.busy(),
                TrySendError::Disconnected(_) => self.closed(),
            })?;
            // The thread answers in time, unless the disk itself hangs.
            let answered = tokio::time::timeout_at((deadline + ANSWER_PATIENCE).into(), result);
            match answered.await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(self.closed()),
                Err(_) => {
                    self.counters.held();
                    Err(StoreError::Busy { location: self.location.to_string() })
                }
            }
        })
    }

    /// The answer to a call that does not get its turn.
    pub(super) fn busy(&self) -> StoreError {
        self.counters.refused();
        StoreError::Busy { location: self.location.to_string() }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { location: self.location.to_string() }
    }
}

impl Epoch for SqliteStore {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

impl StoreMonitor for SqliteStore {
    fn stats(&self) -> StoreStats {
        self.counters.snapshot(&self.notes, self.epoch())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}
