//! The database's file, which may fail, go away and be replaced.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema;
use crate::error::StoreError;

/// The database's file, which may fail, go away and be replaced while the store is open.
pub(super) struct File {
    location: Arc<str>,
    /// `None` for one in memory.
    path: Option<PathBuf>,
    open: Option<Open>,
    /// The write-ahead log of a file that is not there any more.
    orphan: Option<Identity>,
    epoch: Arc<AtomicU64>,
}

struct Open {
    database: Connection,
    identity: Option<Identity>,
    /// The write-ahead log that belongs to it.
    log: Option<Identity>,
}

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// How long SQLite itself waits for another process. Longer waits are the worker's, which has other
/// things to do meanwhile.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(10);

/// How long opening a store waits for another process.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

impl File {
    /// Opens the file, or creates it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let location: Arc<str> = path.display().to_string().into();
        // SQLite would create the file with the rights that the umask leaves.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| StoreError::failed(&location, "open", error))?;
        let open = Open::file(path, OPEN_PATIENCE, &location, schema::IfEmpty::Create)?;
        let epoch = Arc::default();
        let path = Some(path.to_owned());
        Ok(Self { location, path, open: Some(open), orphan: None, epoch })
    }

    pub(super) fn in_memory() -> Result<Self, StoreError> {
        let location: Arc<str> = "in memory".into();
        let mut database = Connection::open_in_memory()
            .map_err(|error| StoreError::failed(&location, "open", error))?;
        schema::prepare(&mut database, &location, schema::IfEmpty::Create)?;
        let open = Open { database, identity: None, log: None };
        let epoch = Arc::default();
        Ok(Self { location, path: None, open: Some(open), orphan: None, epoch })
    }

    pub(super) fn location(&self) -> &Arc<str> {
        &self.location
    }

    /// Rises whenever the file was opened again.
    pub(super) fn epoch(&self) -> Arc<AtomicU64> {
        self.epoch.clone()
    }

    /// The database, which is opened again if need be.
    pub(super) fn database(&mut self) -> Result<&mut Connection, StoreError> {
        if let (Some(open), Some(path)) = (&self.open, &self.path) {
            if Identity::of(path).ok() != open.identity {
                tracing::warn!(store = %self.location, "the store was removed or replaced");
                self.orphan = open.log;
                self.close();
            }
        }
        if self.open.is_none() {
            self.open = Some(self.open_again()?);
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
        match &mut self.open {
            Some(open) => Ok(&mut open.database),
            None => Err(StoreError::Closed { location: self.location.to_string() }),
        }
    }

    /// To be called with what went wrong: a file that may be broken is opened anew the next time.
    pub(super) fn judge(&mut self, error: &rusqlite::Error) {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::ConstraintViolation,
            ) => {}
            Some(_) | None => self.close(),
        }
    }

    /// Gives the file up until it is needed again. What is in memory only stays.
    pub(super) fn close(&mut self) {
        if self.path.is_some() {
            self.open = None;
        }
    }

    fn open_again(&mut self) -> Result<Open, StoreError> {
        let Some(path) = &self.path else {
            return Err(StoreError::Closed { location: self.location.to_string() });
        };
        if let Some(orphan) = self.orphan {
            remove_orphan(path, orphan)
                .map_err(|error| StoreError::failed(&self.location, "open", error))?;
            self.orphan = None;
        }
        Open::file(path, BUSY_TIMEOUT, &self.location, schema::IfEmpty::Refuse)
    }
}

impl Open {
    fn file(
        path: &Path,
        patience: Duration,
        location: &str,
        if_empty: schema::IfEmpty,
    ) -> Result<Self, StoreError> {
        let failed = |error| StoreError::failed(location, "open", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let identity =
            Identity::of(path).map_err(|error| StoreError::failed(location, "open", error))?;
        let mut database = Connection::open_with_flags(path, flags).map_err(failed)?;
        database.busy_timeout(patience).map_err(failed)?;
        schema::prepare(&mut database, location, if_empty)?;
        database.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // A look makes the log of a new file.
        database.pragma_query_value(None, "schema_version", |_| Ok(())).map_err(failed)?;
        let log = Identity::of(&beside(path, "-wal")).ok();
        Ok(Self { database, identity: Some(identity), log })
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// SQLite finds the write-ahead log by its name, and would take what stands in that of another file
/// for what was written to this one.
fn remove_orphan(path: &Path, orphan: Identity) -> io::Result<()> {
    let log = beside(path, "-wal");
    if Identity::of(&log).ok() != Some(orphan) {
        return Ok(());
    }
    for file in [beside(path, "-shm"), log] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The file of this name and `suffix`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
