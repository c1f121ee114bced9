//! The store in one SQLite file.

mod accounts;
mod api_tokens;
mod audit;
mod backup;
mod devices;
mod file;
mod notes;
mod outbox;
mod schema;
mod stats;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, oneshot};

use crate::accounts::Account;
use crate::api_tokens::{ApiToken, NewApiToken};
use crate::audit::{Actor, AuditEntry, AuditQuery, AuditRecord};
use crate::boxed::BoxFuture;
use crate::devices::{DeviceQuery, DeviceRecord, Forgotten, Standing};
use crate::error::StoreError;
use crate::store::Store;
use crate::time::unix_now;
use audit::Log;
use devices::Page;
use file::File;
use notes::Notes;
pub use stats::StoreStats;
use stats::{Action, Counters};
use worker::{Job, Queued, Worker};

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
    notes: Arc<Notes>,
    counters: Arc<Counters>,
    epoch: Arc<AtomicU64>,
    log: Log,
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

/// How many calls may wait for the thread.
const LINE: usize = 1024;

/// How many calls that no device waits for may be in that line, of those that look and of those that
/// change something. However much an operator's programs ask for, a device that logs in waits for no
/// more than these.
const AT_ONCE: usize = 16;

/// How many devices a call looks at before others have their turn.
const STRIDE: usize = 2000;

/// How long a call may wait for its turn and for other processes.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much longer its answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

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

    /// What the store has counted since it was opened.
    pub fn stats(&self) -> StoreStats {
        self.counters.snapshot(&self.notes, self.epoch())
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
            .map_err(|error| StoreError::Failed {
                location: location.to_string(),
                action: "start the thread of",
                source: error.into(),
            })?;
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
    fn read<T: Send + 'static>(
        &self,
        look: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.call(Action::Read, Some(&self.reads), look)
    }

    /// The same for what devices wait for, or all of them depend on: it passes by the other calls'
    /// limit.
    fn read_first<T: Send + 'static>(
        &self,
        look: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.call(Action::Read, None, look)
    }

    /// Has `change` done on the thread as one transaction and waits for its result. Where another
    /// process holds the file it is begun anew.
    fn write<T: Send + 'static>(
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
    fn busy(&self) -> StoreError {
        self.counters.refused();
        StoreError::Busy { location: self.location.to_string() }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { location: self.location.to_string() }
    }
}

impl Store for SqliteStore {
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (log, owned, hash, by) =
            (self.log, name.to_owned(), password_hash.to_owned(), by.clone());
        let added = self.write(move |writing| accounts::add(writing, &owned, &hash, &by, log));
        Box::pin(async move {
            let exists = || StoreError::Exists { what: "account", name: name.to_owned() };
            if added.await? { Ok(()) } else { Err(exists()) }
        })
    }

    fn remove_account<'a>(
        &'a self,
        name: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (log, name, by) = (self.log, name.to_owned(), by.clone());
        self.write(move |writing| accounts::remove(writing, &name, &by, log))
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<Account>, StoreError>> {
        self.read(|database| accounts::all(database))
    }

    fn password_hash<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let name = name.to_owned();
        self.read_first(move |database| accounts::password_hash(database, &name))
    }

    fn seen(&self, device: &DeviceId, generation: u64, at: u64) {
        self.notes.seen(device, generation, at);
    }

    fn devices_page<'a>(
        &'a self,
        query: &'a DeviceQuery,
    ) -> BoxFuture<'a, Result<Vec<DeviceRecord>, StoreError>> {
        let since = Instant::now();
        Box::pin(async move {
            let mut query = query.clone();
            query.limit = query.limit.min(DeviceQuery::MOST);
            let mut found = Vec::new();
            loop {
                let asked = query.clone();
                let look = move |database: &mut _| devices::page(database, &asked, STRIDE);
                let Page { devices, looked_at } = self.read(look).await?;
                query.limit -= u32::try_from(devices.len()).unwrap_or(query.limit);
                found.extend(devices);
                match looked_at {
                    Some(last) if query.limit > 0 => query.after = Some(last),
                    Some(_) | None => return Ok(found),
                }
                if since.elapsed() >= PATIENCE {
                    return Err(self.busy());
                }
            }
        })
    }

    fn devices_by_id<'a>(
        &'a self,
        devices: &'a [DeviceId],
    ) -> BoxFuture<'a, Result<Vec<DeviceRecord>, StoreError>> {
        let most = DeviceQuery::MOST as usize;
        let mut devices: Vec<_> = devices.iter().take(most).cloned().collect();
        devices.sort_unstable();
        devices.dedup();
        self.read(move |database| devices::by_id(database, &devices))
    }

    fn device<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<DeviceRecord>, StoreError>> {
        let device = device.clone();
        self.read(move |database| devices::one(database, &device))
    }

    fn set_label<'a>(
        &'a self,
        device: &'a DeviceId,
        label: Option<&'a str>,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        let label = label.map(str::to_owned);
        self.write(move |writing| devices::set_label(writing, &device, label.as_deref(), &by, log))
    }

    fn forget<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Forgotten, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        self.write(move |writing| devices::forget(writing, &device, &by, log))
    }

    fn revoke<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Standing, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        self.write(move |writing| devices::revoke(writing, &device, &by, log))
    }

    fn block<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<Standing>, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        self.write(move |writing| devices::block(writing, &device, &by, log))
    }

    fn unblock<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<Standing>, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        self.write(move |writing| devices::unblock(writing, &device, &by, log))
    }

    fn standings_after(&self, change: u64) -> BoxFuture<'_, Result<Vec<Standing>, StoreError>> {
        self.read_first(move |database| devices::standings_after(database, change))
    }

    fn add_api_token<'a>(
        &'a self,
        token: &'a NewApiToken,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (log, owned, by) = (self.log, token.clone(), by.clone());
        let added = self.write(move |writing| api_tokens::add(writing, &owned, &by, log));
        Box::pin(async move {
            match added.await? {
                api_tokens::Added::Yes => Ok(()),
                api_tokens::Added::Exists => {
                    Err(StoreError::Exists { what: "API token", name: token.name.clone() })
                }
                api_tokens::Added::TooMany => {
                    Err(StoreError::TooMany { what: "the API tokens", most: ApiToken::MOST })
                }
            }
        })
    }

    fn api_tokens(&self) -> BoxFuture<'_, Result<Vec<ApiToken>, StoreError>> {
        self.read_first(|database| api_tokens::all(database))
    }

    fn revoke_api_token<'a>(
        &'a self,
        name: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (log, name, by) = (self.log, name.to_owned(), by.clone());
        self.write(move |writing| api_tokens::revoke(writing, &name, &by, log))
    }

    fn api_token_used(&self, name: &str, at: u64) {
        self.notes.used(name, at);
    }

    fn audit_later(&self, entry: AuditEntry) {
        self.notes.audit(entry);
    }

    fn audit_page<'a>(
        &'a self,
        query: &'a AuditQuery,
    ) -> BoxFuture<'a, Result<Vec<AuditRecord>, StoreError>> {
        let query = query.clone();
        self.read(move |database| audit::page(database, &query))
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
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

/// SQLite's integers have a sign and ours don't; neither seconds nor counters come near the end.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// An error over a value that nobody who uses this library can have written.
fn damaged(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
