//! A file whose content was moved to a database is retired, which can be undone.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::file::OPEN_TIMEOUT;
use super::retired::{self, RETIRED};
use super::schema::{self, Found};
use super::server_lock::ServerLock;
use super::store::SqliteStore;
use crate::error::StoreError;

impl SqliteStore {
    /// Makes a file a store again whose content was moved to a database. What has changed in the database since is not
    /// in it. Returns the database, without a password, or `None` if the file was a store anyway.
    pub fn undo_retirement(path: &Path) -> Result<Option<String>, StoreError> {
        let location = path.display().to_string();
        let _lock = ServerLock::take(path, &location, OPEN_TIMEOUT)?;
        let mut file = open(path, &location)?;
        let failed = |error| StoreError::failed(&location, "undo the retirement of", error);
        let tx = file.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let undone = match schema::inspect(&tx).map_err(failed)? {
            Found::Version(_) => None,
            Found::Foreign => return Err(StoreError::Foreign { location }),
            Found::Retired(_) => {
                let database = retired::database_of(&tx).map_err(failed)?;
                unmark(&tx).map_err(failed)?;
                Some(database)
            }
        };
        tx.commit().map_err(failed)?;
        Ok(undone)
    }

    /// Fails with [`StoreError::Retired`] if the content of the file was moved to a database, as far as the file says so
    /// without its write-ahead log. Changes nothing.
    pub fn check_not_retired(path: &Path) -> Result<(), StoreError> {
        let location = path.display().to_string();
        let failed = |error: io::Error| StoreError::failed(&location, "read", error);
        let mut header = [0; HEADER];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read.map_err(failed)?,
        }
        // They are `user_version`.
        let [a, b, c, d] = [60, 61, 62, 63].map(|at| header.get(at).copied().unwrap_or_default());
        if i64::from(i32::from_be_bytes([a, b, c, d])) <= RETIRED {
            return Ok(());
        }
        let file = open(path, &location)?;
        match schema::inspect(&file) {
            Ok(Found::Retired(_)) => Err(retired::error(&file, &location)),
            _ => Ok(()),
        }
    }
}

/// The length of the header of a file.
const HEADER: usize = 100;

/// Opens a file that may be a retired store.
pub(super) fn open(path: &Path, location: &str) -> Result<Connection, StoreError> {
    let failed = |error| StoreError::failed(location, "open", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags).map_err(failed)?;
    file.busy_timeout(OPEN_TIMEOUT).map_err(failed)?;
    file.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    Ok(file)
}

/// Undoes the mark, in an open transaction.
pub(super) fn unmark(tx: &Connection) -> rusqlite::Result<()> {
    if let Found::Retired(version) = schema::inspect(tx)? {
        tx.pragma_update(None, "user_version", version)?;
    }
    tx.execute_batch("DROP TABLE IF EXISTS retired")
}
