//! The tables, and how those of older versions become today's.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// What `PRAGMA application_id` says in a store of ours: "fdks".
const APPLICATION: i64 = 0x6664_6b73;

/// How an empty file becomes version 1, that becomes version 2, and so on. A step that was released
/// is never changed: files that it was applied to are out there. The version of a file is kept in
/// `PRAGMA user_version`.
const STEPS: &[&str] = &[
    // A device's `change` is the place of its latest change of standing among all such changes.
    "CREATE TABLE accounts (
         name TEXT PRIMARY KEY,
         password_hash TEXT NOT NULL,
         created_at INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE devices (
         id TEXT PRIMARY KEY,
         first_seen INTEGER,
         last_seen INTEGER,
         generation INTEGER NOT NULL DEFAULT 0,
         change INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE UNIQUE INDEX devices_by_change ON devices (change) WHERE change IS NOT NULL;",
    // A forgotten device keeps its row, for its generation.
    "ALTER TABLE devices ADD COLUMN label TEXT;
     ALTER TABLE devices ADD COLUMN blocked_at INTEGER;
     ALTER TABLE devices ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
     CREATE INDEX devices_blocked ON devices (id) WHERE blocked_at IS NOT NULL;
     CREATE TABLE api_tokens (
         name TEXT PRIMARY KEY,
         hash BLOB NOT NULL UNIQUE,
         roles TEXT NOT NULL,
         devices TEXT,
         created_at INTEGER NOT NULL,
         expires_at INTEGER,
         last_used INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE audit (
         sequence INTEGER PRIMARY KEY,
         at INTEGER NOT NULL,
         actor TEXT NOT NULL,
         action TEXT NOT NULL,
         device TEXT,
         detail TEXT
     ) STRICT;
     CREATE INDEX audit_by_device ON audit (device, sequence) WHERE device IS NOT NULL;",
    // A number is never given twice, so that what is removed late takes nothing newer with it.
    "CREATE TABLE outbox (
         sequence INTEGER PRIMARY KEY AUTOINCREMENT,
         webhook TEXT NOT NULL,
         lane TEXT NOT NULL,
         event TEXT NOT NULL,
         body TEXT NOT NULL,
         at INTEGER NOT NULL
     ) STRICT;
     CREATE INDEX outbox_by_webhook ON outbox (webhook, sequence);",
];

/// What to do with a file that has nothing in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfEmpty {
    /// Make it a store.
    Create,
    /// Refuse it: there was a store in its place.
    Refuse,
}

/// The version that this program writes.
pub(super) fn latest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Makes a database that was just opened ready for use: an older one is brought up to the latest
/// version, each step in a transaction of its own.
pub(super) fn prepare(
    database: &mut Connection,
    location: &str,
    if_empty: IfEmpty,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::failed(location, "open", error);
    loop {
        // Without a transaction first: one that writes may have to wait.
        match look(database).map_err(failed)? {
            Found::Version(version) if version == latest() => break,
            Found::Version(version) if version > latest() => {
                let (location, known) = (location.to_owned(), latest());
                return Err(StoreError::Newer { location, found: version, known });
            }
            Found::Version(0) if if_empty == IfEmpty::Refuse => {
                return Err(StoreError::failed(
                    location,
                    "open",
                    "it is empty, expected what was in it",
                ));
            }
            Found::Version(version) => {
                if step(database, version).map_err(failed)? && version > 0 {
                    let to = version + 1;
                    tracing::info!(store = location, from = version, to, "migrated the store");
                }
            }
            Found::Foreign => return Err(StoreError::Foreign { location: location.to_owned() }),
        }
    }
    // Readers and the writer don't wait for each other; a change is answered once it is on disk, so
    // that a revocation or an account survives a power cut.
    database.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    database.pragma_update(None, "synchronous", "FULL").map_err(failed)
}

/// What a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A store of this version; 0 if there is nothing in it.
    Version(i64),
    Foreign,
}

pub(super) fn look(database: &Connection) -> rusqlite::Result<Found> {
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id")?;
    if application == APPLICATION {
        return Ok(Found::Version(pragma("user_version")?));
    }
    let tables: i64 =
        database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(if application == 0 && tables == 0 { Found::Version(0) } else { Found::Foreign })
}

/// Makes a store of `version` one of the next. Whether it was still of that version: another process
/// may have opened the same file.
fn step(database: &mut Connection, version: i64) -> rusqlite::Result<bool> {
    let writing = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let place = usize::try_from(version).unwrap_or(usize::MAX);
    let (Found::Version(found), Some(step)) = (look(&writing)?, STEPS.get(place)) else {
        return Ok(false);
    };
    if found != version {
        return Ok(false);
    }
    writing.execute_batch(step)?;
    writing.pragma_update(None, "application_id", APPLICATION)?;
    writing.pragma_update(None, "user_version", version + 1)?;
    writing.commit()?;
    Ok(true)
}
