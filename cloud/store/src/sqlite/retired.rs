//! How a file is marked whose content was moved to a database.

use rusqlite::{Connection, OptionalExtension};

use crate::error::StoreError;

/// What is added to the version of such a file, so that no version of this program opens it.
pub(super) const RETIRED: i64 = 1_000_000;

/// The error of opening it.
pub(super) fn error(file: &Connection, location: &str) -> StoreError {
    match database_of(file) {
        Ok(database) => StoreError::Retired { location: location.to_owned(), database },
        Err(error) => StoreError::failed(location, "open", error),
    }
}

/// The database to which it was moved.
pub(super) fn database_of(file: &Connection) -> rusqlite::Result<String> {
    let found = file.query_row("SELECT database FROM retired", [], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or_else(|| "postgres://".to_owned()))
}
