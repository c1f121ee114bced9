use rusqlite::{Connection, TransactionBehavior};

use super::{BUSY_TIMEOUT, StoreError, failure};

/// What `PRAGMA application_id` says in a store of ours: "fdks".
const APPLICATION: i64 = 0x6664_6b73;

/// The version of [`TABLES`], kept in `PRAGMA user_version`. A change of the tables raises it and
/// says here how the former version becomes the new one.
const VERSION: i64 = 1;

/// A device's `change` is the place of its latest revocation among all revocations.
const TABLES: &str = "
    CREATE TABLE accounts (
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
    CREATE UNIQUE INDEX devices_by_change ON devices (change) WHERE change IS NOT NULL;
";

/// Makes a database that was just opened ready for use, and an empty one a store.
pub(super) fn prepare(database: &mut Connection, location: &str) -> Result<(), StoreError> {
    let failed = failure(location, "open");
    database.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
    let found = create(database).map_err(&failed)?;
    match found {
        Found::Ours(VERSION) => {}
        Found::Ours(version) => {
            return Err(StoreError::Newer {
                location: location.to_owned(),
                found: version,
                known: VERSION,
            });
        }
        Found::Foreign => return Err(StoreError::Foreign { location: location.to_owned() }),
    }
    // Readers and the writer don't wait for each other; a change is answered once it is on disk, so
    // that a revocation or an account survives a power cut.
    database.pragma_update(None, "journal_mode", "WAL").map_err(&failed)?;
    database.pragma_update(None, "synchronous", "FULL").map_err(&failed)
}

enum Found {
    /// A store of this version, which may just have been created.
    Ours(i64),
    Foreign,
}

/// In a transaction, since another process may be opening the same new file.
fn create(database: &mut Connection) -> rusqlite::Result<Found> {
    let pragma = |database: &Connection, name| {
        database.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
    };
    let creating = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application = pragma(&creating, "application_id")?;
    if application == APPLICATION {
        return Ok(Found::Ours(pragma(&creating, "user_version")?));
    }
    let tables: i64 =
        creating.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != 0 || tables != 0 {
        return Ok(Found::Foreign);
    }
    creating.execute_batch(TABLES)?;
    creating.pragma_update(None, "application_id", APPLICATION)?;
    creating.pragma_update(None, "user_version", VERSION)?;
    creating.commit()?;
    Ok(Found::Ours(VERSION))
}
