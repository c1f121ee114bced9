//! The database file, which may fail, disappear and be replaced while the store is open.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::new_file::{self, with_suffix};
use super::schema;
use super::server_lock::ServerLock;
use crate::error::StoreError;

pub(super) struct File {
    location: Arc<str>,
    /// `None` for a database in memory.
    path: Option<PathBuf>,
    open: Option<Open>,
    /// The write-ahead log of a file that was removed or replaced.
    orphaned_wal: Option<Identity>,
    epoch: Arc<AtomicU64>,
    /// Only of a server.
    lock: Option<ServerLock>,
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A server, the only one.
    Server,
    /// Anything else, also while a server uses it.
    Other,
}

struct Open {
    database: Connection,
    identity: Option<Identity>,
    /// Its write-ahead log.
    wal: Option<Identity>,
}

/// Identifies a file independently of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// How long SQLite itself waits for another process. Longer waits are up to the worker, which can run
/// other calls meanwhile.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(10);

/// How long opening a store waits for another process.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

impl File {
    /// Creates an empty store: complete or not at all, so that an empty file is never one.
    pub(super) fn create(path: &Path) -> Result<(), StoreError> {
        Self::check_new(path)?;
        let location = path.display().to_string();
        let failed = |error: rusqlite::Error| StoreError::failed(&location, "create", error);
        let created = new_file::create(path, "create", &location, |unfinished| {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let opened = Connection::open_with_flags(unfinished, flags);
            let mut database = opened.map_err(failed)?;
            schema::prepare(&mut database, &location, schema::IfEmpty::Create)?;
            database.close().map_err(|(_, error)| failed(error))
        });
        match created {
            // By another process, meanwhile.
            Err(_) if path.exists() => Err(StoreError::Exists { what: "store", name: location }),
            created => created,
        }
    }

    /// Fails if there is a store, or what is left of one.
    pub(super) fn check_new(path: &Path) -> Result<(), StoreError> {
        let location = path.display().to_string();
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() && found.len() == 0 => {
                return Err(StoreError::Empty { location });
            }
            Ok(_) => return Err(StoreError::Exists { what: "store", name: location }),
            Err(_) => {}
        }
        let wal = with_suffix(path, "-wal");
        if fs::symlink_metadata(&wal).is_ok_and(|found| found.len() > 0) {
            // SQLite would apply it to the new file.
            let problem = format!("{} of an earlier store is still there", wal.display());
            return Err(StoreError::failed(&location, "create", problem));
        }
        Ok(())
    }

    /// Opens the file.
    pub(super) fn open(path: &Path, use_as: Use) -> Result<Self, StoreError> {
        let location: Arc<str> = path.display().to_string().into();
        if let Err(error) = fs::metadata(path) {
            if error.kind() == io::ErrorKind::NotFound {
                return Err(StoreError::Missing { location: location.to_string() });
            }
            return Err(StoreError::failed(&location, "open", error));
        }
        // Before the other server's store is migrated.
        let lock = match use_as {
            Use::Server => Some(ServerLock::take(path, &location, OPEN_TIMEOUT)?),
            Use::Other => None,
        };
        let open = Open::file(path, OPEN_TIMEOUT, &location)?;
        let epoch = Arc::default();
        let path = Some(path.to_owned());
        Ok(Self { location, path, open: Some(open), orphaned_wal: None, epoch, lock })
    }

    pub(super) fn in_memory() -> Result<Self, StoreError> {
        let location: Arc<str> = "in memory".into();
        let mut database = Connection::open_in_memory()
            .map_err(|error| StoreError::failed(&location, "open", error))?;
        schema::prepare(&mut database, &location, schema::IfEmpty::Create)?;
        let open = Open { database, identity: None, wal: None };
        let epoch = Arc::default();
        Ok(Self { location, path: None, open: Some(open), orphaned_wal: None, epoch, lock: None })
    }

    pub(super) fn location(&self) -> &Arc<str> {
        &self.location
    }

    /// Rises whenever the file is reopened.
    pub(super) fn epoch(&self) -> Arc<AtomicU64> {
        self.epoch.clone()
    }

    /// The database, which is reopened if necessary.
    pub(super) fn database(&mut self) -> Result<&mut Connection, StoreError> {
        if let (Some(open), Some(path)) = (&self.open, &self.path) {
            if Identity::of(path).ok() != open.identity {
                tracing::warn!(store = %self.location, "the store file was removed or replaced");
                self.orphaned_wal = open.wal;
                self.close();
            }
        }
        if self.open.is_none() {
            self.open = Some(self.reopen()?);
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
        match &mut self.open {
            Some(open) => Ok(&mut open.database),
            None => Err(StoreError::Closed { location: self.location.to_string() }),
        }
    }

    /// Has a file that may be broken reopened for the next call.
    pub(super) fn on_error(&mut self, error: &rusqlite::Error) {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::ConstraintViolation,
            ) => {}
            _ => self.close(),
        }
    }

    /// Closes the file until the next call. A database in memory stays open, as its content would be lost.
    pub(super) fn close(&mut self) {
        if self.path.is_some() {
            self.open = None;
        }
    }

    fn reopen(&mut self) -> Result<Open, StoreError> {
        let Some(path) = &self.path else {
            return Err(StoreError::Closed { location: self.location.to_string() });
        };
        if let Some(wal) = self.orphaned_wal {
            remove_orphaned_wal(path, wal)
                .map_err(|error| StoreError::failed(&self.location, "open", error))?;
            self.orphaned_wal = None;
        }
        if let Some(lock) = &mut self.lock {
            lock.follow(path, &self.location)?;
        }
        Open::file(path, BUSY_TIMEOUT, &self.location)
    }
}

impl Open {
    fn file(path: &Path, timeout: Duration, location: &str) -> Result<Self, StoreError> {
        let failed = |error| StoreError::failed(location, "open", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let identity =
            Identity::of(path).map_err(|error| StoreError::failed(location, "open", error))?;
        let mut database = Connection::open_with_flags(path, flags).map_err(failed)?;
        database.busy_timeout(timeout).map_err(failed)?;
        schema::prepare(&mut database, location, schema::IfEmpty::Reject)?;
        database.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // Reading creates the write-ahead log of a new file.
        database.pragma_query_value(None, "schema_version", |_| Ok(())).map_err(failed)?;
        let wal = Identity::of(&with_suffix(path, "-wal")).ok();
        Ok(Self { database, identity: Some(identity), wal })
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// SQLite finds the write-ahead log by its name: it would apply the log of the previous file to the new
/// one.
fn remove_orphaned_wal(path: &Path, orphaned: Identity) -> io::Result<()> {
    let wal = with_suffix(path, "-wal");
    if Identity::of(&wal).ok() != Some(orphaned) {
        return Ok(());
    }
    for file in [with_suffix(path, "-shm"), wal] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
