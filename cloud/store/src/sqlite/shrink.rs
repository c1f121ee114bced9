//! Gives the room that deleted rows leave in the file back to the file system, a little at a time.

use rusqlite::{Connection, ErrorCode};

/// What `PRAGMA auto_vacuum` says of a file that can shrink in steps.
const INCREMENTAL: i64 = 2;

/// The number of pages that a step moves or removes, which takes some milliseconds.
const STEP_PAGES: u32 = 256;

/// The number of free pages that are left to be used again: 1 MiB.
const SLACK_PAGES: i64 = 256;

/// At least this share of the file has to be free, or moving pages costs more than it gains.
const SHARE: i64 = 8;

/// A file with more than this in it is not rewritten when it is opened: devices wait for that.
const MAX_REWRITTEN: i64 = 64 * 1024 * 1024;

/// Prepares an empty file. Has no effect on any other.
pub(super) fn prepare(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update(None, "auto_vacuum", INCREMENTAL)
}

/// Rewrites a file of an older version, so that it can shrink. Where that is not possible now the file is
/// used as it is, and tried again when it is opened the next time.
pub(super) fn convert(database: &Connection, location: &str) -> rusqlite::Result<()> {
    if number(database, "auto_vacuum")? == INCREMENTAL {
        return Ok(());
    }
    let pages = number(database, "page_count")? - number(database, "freelist_count")?;
    let bytes = pages.saturating_mul(number(database, "page_size")?);
    if bytes > MAX_REWRITTEN {
        tracing::warn!(
            store = location,
            bytes,
            "the store's file does not shrink before the server starts with less in it"
        );
        return Ok(());
    }
    prepare(database)?;
    match database.execute_batch("VACUUM") {
        Ok(()) => {
            tracing::info!(store = location, "rewrote the store's file so that it can shrink")
        }
        Err(error) if is_busy(&error) => {}
        Err(error) => {
            tracing::warn!(store = location, %error, "cannot rewrite the store's file so that it can shrink");
        }
    }
    Ok(())
}

/// Whether enough of the file is free to make [`step`] worthwhile.
pub(super) fn is_due(database: &Connection) -> rusqlite::Result<bool> {
    let free = number(database, "freelist_count")?;
    let due = free > SLACK_PAGES && free.saturating_mul(SHARE) > number(database, "page_count")?;
    Ok(due && number(database, "auto_vacuum")? == INCREMENTAL)
}

/// Shrinks the file a little. Returns whether there is more to do.
pub(super) fn step(database: &Connection) -> rusqlite::Result<bool> {
    {
        let sql = format!("PRAGMA incremental_vacuum({STEP_PAGES})");
        let mut vacuum = database.prepare(&sql)?;
        // It removes a page for each row that is read.
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    let more = is_due(database)?;
    if !more {
        // Only a checkpoint makes the file itself shorter.
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(more)
}

fn number(database: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    database.pragma_query_value(None, pragma, |row| row.get(0))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
