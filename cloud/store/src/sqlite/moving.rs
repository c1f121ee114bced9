//! The file whose content is moved to a database: read in one transaction, in which no one else writes, and retired.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Statement, params};

use super::file::OPEN_TIMEOUT;
use super::retired::{self, RETIRED};
use super::retirement;
use super::schema::{self, Found};
use super::server_lock::ServerLock;
use crate::columns::to_column;
use crate::error::StoreError;
use crate::time::unix_now;

/// An open file.
pub(crate) struct MovedFile {
    file: Connection,
    location: String,
    retired: Option<String>,
    /// As long as no server may use it.
    _lock: Option<ServerLock>,
}

/// How many numbers a table has given out, from `sqlite_sequence` or its largest one.
const NUMBERED: &str = "SELECT max(
    ifnull((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0),
    ifnull((SELECT max({number}) FROM {table}), 0))";

impl MovedFile {
    /// Opens a file, which is migrated to the current version first. With `alone` no server may use it, and nothing else
    /// writes to it, until this is dropped.
    pub(crate) fn open(path: &Path, alone: bool) -> Result<Self, StoreError> {
        let location = path.display().to_string();
        if !path.exists() {
            return Err(StoreError::Missing { location });
        }
        let lock = alone.then(|| ServerLock::take(path, &location, OPEN_TIMEOUT)).transpose()?;
        let failed = |error| StoreError::failed(&location, "open", error);
        let mut file = retirement::open(path, &location)?;
        let mut retired = None;
        match schema::inspect(&file).map_err(failed)? {
            Found::Retired(version) if version == schema::latest() => {
                retired = Some(retired::database_of(&file).map_err(failed)?);
            }
            Found::Retired(_) => {
                let problem = "another version of this program retired it: undo that with \
                    `fedecks-cloud migrate --undo-retirement` first";
                return Err(StoreError::failed(&location, "move", problem));
            }
            _ => schema::prepare(&mut file, &location, schema::IfEmpty::Reject)?,
        }
        file.execute_batch(if alone { "BEGIN IMMEDIATE" } else { "BEGIN" }).map_err(failed)?;
        Ok(Self { file, location, retired, _lock: lock })
    }

    /// Whether a server uses it.
    pub(crate) fn is_in_use(path: &Path) -> bool {
        let location = path.display().to_string();
        let taken = ServerLock::take(path, &location, Duration::ZERO);
        matches!(taken, Err(StoreError::InUse { .. }))
    }

    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    /// The database to which it was moved before, or would have been if that had not been interrupted.
    pub(crate) fn retired(&self) -> Option<&str> {
        self.retired.as_deref()
    }

    pub(crate) fn installation(&self) -> Result<Vec<u8>, StoreError> {
        let found = self.file.query_row("SELECT id FROM installation", [], |row| row.get(0));
        found.map_err(|error| self.failed("read", error))
    }

    /// The rows of a query.
    pub(crate) fn read(&self, sql: &str) -> Result<Statement<'_>, StoreError> {
        self.file.prepare(sql).map_err(|error| self.failed("read", error))
    }

    /// The newest number of a table, also if its row was deleted.
    pub(crate) fn newest(&self, table: &str, number: &str) -> Result<i64, StoreError> {
        let sql = NUMBERED.replace("{table}", table).replace("{number}", number);
        let found = self.file.query_row(&sql, [table], |row| row.get(0));
        found.map_err(|error| self.failed("read", error))
    }

    /// Marks it as moved to this database. It is on disk when this returns.
    pub(crate) fn retire(&self, database: &str) -> Result<(), StoreError> {
        mark(&self.file, database)
            .and_then(|()| self.file.execute_batch("COMMIT"))
            .map_err(|error| self.failed("retire", error))
    }

    /// Undoes [`MovedFile::retire`].
    pub(crate) fn take_back(&self) -> Result<(), StoreError> {
        self.file
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| retirement::unmark(&self.file))
            .and_then(|()| self.file.execute_batch("COMMIT"))
            .map_err(|error| self.failed("undo the retirement of", error))
    }

    pub(crate) fn failed(&self, action: &'static str, error: rusqlite::Error) -> StoreError {
        StoreError::failed(&self.location, action, error)
    }
}

/// Marks a store as moved to this database, in an open transaction. It may be marked already.
fn mark(tx: &Connection, database: &str) -> rusqlite::Result<()> {
    let table =
        "CREATE TABLE IF NOT EXISTS retired (database TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
        DELETE FROM retired;";
    tx.execute_batch(table)?;
    let at = to_column(unix_now());
    tx.execute("INSERT INTO retired VALUES (?1, ?2)", params![database, at])?;
    if let Found::Version(version) = schema::inspect(tx)? {
        tx.pragma_update(None, "user_version", version + RETIRED)?;
    }
    Ok(())
}
