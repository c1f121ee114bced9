mod schema;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{Account, BoxFuture, DeviceRecord, Revocation, Store, StoreError};
use crate::time::unix_now;

/// The store in one SQLite file.
///
/// One thread of its own holds the database; calls wait in a bounded line before it and are refused
/// with [`StoreError::Busy`] once that is full. Other processes may use the same file at the same
/// time, as the commands of `fedecks-cloud` do beside the running server.
///
/// Dropping the store writes what [`Store::seen`] noted last, and waits for that.
pub struct SqliteStore {
    location: Arc<str>,
    /// `None` only while dropping: its end is what ends the thread.
    commands: Option<SyncSender<Command>>,
    notes: Arc<Notes>,
    thread: Option<JoinHandle<()>>,
}

/// How many calls may wait for the thread.
const LINE: usize = 1024;

/// How often the notes of [`Store::seen`] are written.
const NOTES_INTERVAL: Duration = Duration::from_secs(1);

/// Of how many devices notes are kept between two writes.
const NOTES_KEPT: usize = 100_000;

/// How long a write waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

type Command = Box<dyn FnOnce(&mut Connection) + Send>;

impl SqliteStore {
    /// Opens the file at `path`, or creates it, readable and writable by its owner only. The folder
    /// has to exist. Where SQLite needs more files it puts them beside it, with the same rights.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let location: Arc<str> = path.display().to_string().into();
        let failed = failure(&location, "open");
        // SQLite would create the file with the rights that the umask leaves.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| StoreError::Failed {
                location: location.to_string(),
                action: "open",
                source: error.into(),
            })?;
        let database = Connection::open(path).map_err(failed)?;
        Self::start(location, database)
    }

    /// A store that is gone when it is dropped, for tests and trials.
    pub fn in_memory() -> Result<Self, StoreError> {
        let location: Arc<str> = "in memory".into();
        let database = Connection::open_in_memory().map_err(failure(&location, "open"))?;
        Self::start(location, database)
    }

    /// How many notes of [`Store::seen`] were dropped because the store could not keep up or failed.
    pub fn dropped_notes(&self) -> u64 {
        self.notes.dropped.load(Ordering::Relaxed)
    }

    fn start(location: Arc<str>, mut database: Connection) -> Result<Self, StoreError> {
        schema::prepare(&mut database, &location)?;
        let (commands, line) = sync_channel(LINE);
        let notes = Arc::new(Notes::default());
        let thread = std::thread::Builder::new()
            .name("fedecks-store".into())
            .spawn({
                let (location, notes) = (location.clone(), notes.clone());
                move || serve(&line, database, &notes, &location)
            })
            .map_err(|error| StoreError::Failed {
                location: location.to_string(),
                action: "start the thread of",
                source: error.into(),
            })?;
        Ok(Self { location, commands: Some(commands), notes, thread: Some(thread) })
    }

    /// Has `work` done on the thread and waits for its result.
    fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let (answer, result) = oneshot::channel();
        let command: Command = Box::new(move |database| {
            // Nobody waiting for the result any more is no error.
            let _ = answer.send(work(database));
        });
        let location = || self.location.to_string();
        let sent = match &self.commands {
            None => Err(StoreError::Closed { location: location() }),
            Some(commands) => commands.try_send(command).map_err(|error| match error {
                TrySendError::Full(_) => StoreError::Busy { location: location() },
                TrySendError::Disconnected(_) => StoreError::Closed { location: location() },
            }),
        };
        Box::pin(async move {
            sent?;
            match result.await {
                Ok(result) => result.map_err(failure(&self.location, action)),
                Err(_) => Err(StoreError::Closed { location: self.location.to_string() }),
            }
        })
    }
}

impl Store for SqliteStore {
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (owned, hash) = (name.to_owned(), password_hash.to_owned());
        let added = self.call("write", move |database| {
            database.execute(
                "INSERT INTO accounts (name, password_hash, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO NOTHING",
                params![owned, hash, stored(unix_now())],
            )
        });
        Box::pin(async move {
            match added.await? {
                0 => Err(StoreError::Exists { name: name.to_owned() }),
                _ => Ok(()),
            }
        })
    }

    fn remove_account<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        let name = name.to_owned();
        self.call("write", move |database| {
            Ok(database.execute("DELETE FROM accounts WHERE name = ?1", [name])? > 0)
        })
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<Account>, StoreError>> {
        self.call("read", |database| {
            database
                .prepare_cached("SELECT name, created_at FROM accounts ORDER BY name")?
                .query_map([], |row| {
                    Ok(Account { name: row.get(0)?, created_at: read(row.get(1)?) })
                })?
                .collect()
        })
    }

    fn password_hash<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let name = name.to_owned();
        self.call("read", move |database| {
            database
                .prepare_cached("SELECT password_hash FROM accounts WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })
    }

    fn seen(&self, device: &DeviceId, at: u64) {
        self.notes.add(device, at);
    }

    fn devices(&self) -> BoxFuture<'_, Result<Vec<DeviceRecord>, StoreError>> {
        self.call("read", |database| {
            database
                .prepare_cached(
                    "SELECT id, first_seen, last_seen, generation FROM devices ORDER BY id",
                )?
                .query_map([], device_record)?
                .collect()
        })
    }

    fn device<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<DeviceRecord>, StoreError>> {
        let device = device.clone();
        self.call("read", move |database| {
            database
                .prepare_cached(
                    "SELECT id, first_seen, last_seen, generation FROM devices WHERE id = ?1",
                )?
                .query_row([device.as_str()], device_record)
                .optional()
        })
    }

    fn revoke<'a>(&'a self, device: &'a DeviceId) -> BoxFuture<'a, Result<u64, StoreError>> {
        let device = device.clone();
        self.call("write", move |database| {
            let writing = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let generation = writing.query_row(
                "INSERT INTO devices (id, generation, change)
                 VALUES (?1, 1, (SELECT ifnull(max(change), 0) + 1 FROM devices))
                 ON CONFLICT (id) DO UPDATE
                 SET generation = generation + 1, change = excluded.change
                 RETURNING generation",
                [device.as_str()],
                |row| row.get(0),
            )?;
            writing.commit()?;
            Ok(read(generation))
        })
    }

    fn revocations_after(&self, change: u64) -> BoxFuture<'_, Result<Vec<Revocation>, StoreError>> {
        self.call("read", move |database| {
            database
                .prepare_cached(
                    "SELECT id, generation, change FROM devices WHERE change > ?1 ORDER BY change",
                )?
                .query_map([stored(change)], |row| {
                    Ok(Revocation {
                        device: device_id(row)?,
                        generation: read(row.get(1)?),
                        change: read(row.get(2)?),
                    })
                })?
                .collect()
        })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

/// When devices were seen, until it is written.
#[derive(Default)]
struct Notes {
    waiting: Mutex<HashMap<DeviceId, u64>>,
    dropped: AtomicU64,
}

impl Notes {
    fn add(&self, device: &DeviceId, at: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = waiting.get_mut(device) {
            *known = (*known).max(at);
        } else if waiting.len() < NOTES_KEPT {
            waiting.insert(device.clone(), at);
        } else {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes all that is waiting as one transaction. While another process holds the file for longer
    /// than `patience` it stays here. What cannot be written is dropped: a device that stays connected
    /// to a cloud whose disk is full is worth more than when it was last seen.
    fn write(&self, database: &mut Connection, location: &str, patience: Duration) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            return;
        }
        let written = database
            .busy_timeout(patience)
            .and_then(|()| write_notes(database, &waiting))
            .and_then(|()| database.busy_timeout(BUSY_TIMEOUT));
        if let Err(error) = written {
            // Setting it fails for no open database, and the worst is a command that does not wait.
            let _ = database.busy_timeout(BUSY_TIMEOUT);
            if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
                return waiting.iter().for_each(|(device, at)| self.add(device, *at));
            }
            let lost = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
            let dropped = self.dropped.fetch_add(lost, Ordering::Relaxed) + lost;
            tracing::warn!(store = location, %error, dropped, "when devices were seen is lost");
        }
    }
}

fn write_notes(
    database: &mut Connection,
    waiting: &HashMap<DeviceId, u64>,
) -> rusqlite::Result<()> {
    let writing = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut note = writing.prepare_cached(
            "INSERT INTO devices (id, first_seen, last_seen) VALUES (?1, ?2, ?2)
             ON CONFLICT (id) DO UPDATE
             SET first_seen = min(ifnull(first_seen, excluded.first_seen), excluded.first_seen),
                 last_seen = max(ifnull(last_seen, 0), excluded.last_seen)",
        )?;
        for (device, at) in waiting {
            note.execute(params![device.as_str(), stored(*at)])?;
        }
    }
    writing.commit()
}

/// The thread: one command after the other, and the notes once in a while.
fn serve(line: &Receiver<Command>, mut database: Connection, notes: &Notes, location: &str) {
    let mut due = Instant::now() + NOTES_INTERVAL;
    loop {
        match line.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(command) => command(&mut database),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                notes.write(&mut database, location, BUSY_TIMEOUT);
                return;
            }
        }
        if Instant::now() >= due {
            // Nobody who wants to know something waits for notes.
            notes.write(&mut database, location, Duration::ZERO);
            due = Instant::now() + NOTES_INTERVAL;
        }
    }
}

fn failure(location: &str, action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    let location = location.to_owned();
    move |error| StoreError::Failed { location: location.clone(), action, source: error.into() }
}

fn device_record(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    Ok(DeviceRecord {
        id: device_id(row)?,
        first_seen: row.get::<_, Option<i64>>(1)?.map(read),
        last_seen: row.get::<_, Option<i64>>(2)?.map(read),
        generation: read(row.get(3)?),
    })
}

/// The device id in the first column.
fn device_id(row: &Row<'_>) -> rusqlite::Result<DeviceId> {
    DeviceId::new(row.get::<_, String>(0)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

/// SQLite's integers have a sign and ours don't; neither seconds nor counters come near the end.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests;
