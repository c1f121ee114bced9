//! The tables, and the migrations from older versions.

use rusqlite::{Connection, TransactionBehavior};

use super::retired::{self, RETIRED};
use super::shrink;
use crate::error::StoreError;

/// `PRAGMA application_id` of a Fedecks store: "fdks".
const APPLICATION_ID: i64 = 0x6664_6b73;

/// The migrations: the first turns an empty file into version 1, the next turns that into version 2, and
/// so on. A released migration is never changed, as it was applied to existing files. `PRAGMA user_version`
/// is the version of a file.
const MIGRATIONS: &[&str] = &[
    // `change` numbers the changes of access of all devices; a device has the number of its latest.
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
    // AUTOINCREMENT never reuses a number, so that a late removal cannot hit a newer event.
    "CREATE TABLE outbox (
         sequence INTEGER PRIMARY KEY AUTOINCREMENT,
         webhook TEXT NOT NULL,
         lane TEXT NOT NULL,
         event TEXT NOT NULL,
         body TEXT NOT NULL,
         at INTEGER NOT NULL
     ) STRICT;
     CREATE INDEX outbox_by_webhook ON outbox (webhook, sequence);",
    // The classes are those of `AuditClass`. `number` counts the lines of a class, so that the first and the
    // last line tell how many there are.
    "ALTER TABLE audit RENAME TO old_audit;
     DROP INDEX audit_by_device;
     CREATE TABLE audit (
         sequence INTEGER PRIMARY KEY,
         class INTEGER NOT NULL,
         number INTEGER NOT NULL,
         at INTEGER NOT NULL,
         actor TEXT NOT NULL,
         address TEXT,
         action TEXT NOT NULL,
         device TEXT,
         detail TEXT
     ) STRICT;
     INSERT INTO audit
         SELECT sequence, class, row_number() OVER (PARTITION BY class ORDER BY sequence),
             at, actor, NULL, action, device, detail
         FROM (SELECT *, CASE WHEN action = 'message-sent' THEN 6
                              WHEN action LIKE 'device-%' THEN 2 ELSE 1 END AS class
               FROM old_audit);
     DROP TABLE old_audit;
     CREATE INDEX audit_by_class ON audit (class, sequence);
     CREATE INDEX audit_by_device ON audit (device, sequence) WHERE device IS NOT NULL;
     CREATE INDEX audit_by_actor ON audit (actor, sequence);
     CREATE TABLE known_logins (
         account TEXT NOT NULL,
         network TEXT NOT NULL,
         last_used INTEGER NOT NULL,
         PRIMARY KEY (account, network)
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX known_logins_by_use ON known_logins (last_used);",
    // A lane has a row while it has items; `due` is when its first item may be taken, whether it is ready, waits
    // for its next attempt, or is reserved, and then `token` is not null. Times on the clock of a queue are in
    // milliseconds, `at` in seconds since 1970. `turn` is the order in which lanes became ready. The counters of a
    // queue save counting its rows. The size of an item is that of `QueueItem::stored_bytes`.
    "CREATE TABLE queues (
         queue INTEGER PRIMARY KEY,
         name TEXT NOT NULL UNIQUE,
         time INTEGER NOT NULL DEFAULT 0,
         turn INTEGER NOT NULL DEFAULT 0,
         items INTEGER NOT NULL DEFAULT 0,
         bytes INTEGER NOT NULL DEFAULT 0,
         dropped INTEGER NOT NULL DEFAULT 0,
         parked INTEGER NOT NULL DEFAULT 0,
         parked_bytes INTEGER NOT NULL DEFAULT 0
     ) STRICT;
     CREATE TABLE queue_lanes (
         lane INTEGER PRIMARY KEY,
         queue INTEGER NOT NULL,
         name TEXT NOT NULL,
         due INTEGER NOT NULL,
         turn INTEGER NOT NULL,
         token INTEGER,
         attempts INTEGER NOT NULL DEFAULT 0,
         failures INTEGER NOT NULL DEFAULT 0,
         UNIQUE (queue, name)
     ) STRICT;
     CREATE TABLE queue_items (
         sequence INTEGER PRIMARY KEY,
         queue INTEGER NOT NULL,
         lane INTEGER NOT NULL,
         id TEXT NOT NULL,
         at INTEGER NOT NULL,
         since INTEGER NOT NULL,
         bytes INTEGER NOT NULL,
         body BLOB NOT NULL
     ) STRICT;
     CREATE TABLE dead_letters (
         number INTEGER PRIMARY KEY AUTOINCREMENT,
         queue INTEGER NOT NULL,
         lane TEXT NOT NULL,
         id TEXT NOT NULL,
         at INTEGER NOT NULL,
         rejected_at INTEGER NOT NULL,
         reason TEXT NOT NULL,
         bytes INTEGER NOT NULL,
         body BLOB NOT NULL
     ) STRICT;
     INSERT INTO queues (name) SELECT DISTINCT 'webhook ' || webhook FROM outbox;
     INSERT INTO queue_lanes (queue, name, due, turn)
         SELECT queue, outbox.lane, 0, min(sequence)
         FROM outbox JOIN queues ON queues.name = 'webhook ' || webhook
         GROUP BY queue, outbox.lane;
     INSERT INTO queue_items
         SELECT sequence, queue, lane, event, at, 0,
             CASE WHEN bytes < 4096 THEN bytes ELSE bytes + 4096 END, CAST(body AS BLOB)
         FROM (SELECT outbox.sequence, queue_lanes.queue, queue_lanes.lane, event, at, body,
                   140 + 2 * octet_length(outbox.lane) + octet_length(event) + octet_length(body) AS bytes
               FROM outbox
               JOIN queues ON queues.name = 'webhook ' || webhook
               JOIN queue_lanes ON queue_lanes.queue = queues.queue AND queue_lanes.name = outbox.lane)
         ORDER BY sequence;
     DROP TABLE outbox;
     CREATE INDEX queue_lanes_by_due ON queue_lanes (queue, due, turn);
     CREATE INDEX queue_items_by_queue ON queue_items (queue);
     CREATE INDEX queue_items_by_lane ON queue_items (lane);
     CREATE INDEX dead_letters_by_queue ON dead_letters (queue);
     CREATE INDEX dead_letters_by_lane ON dead_letters (queue, lane);
     CREATE INDEX dead_letters_by_time ON dead_letters (rejected_at);
     UPDATE queues SET
         turn = (SELECT max(turn) FROM queue_lanes WHERE queue_lanes.queue = queues.queue),
         items = (SELECT count(*) FROM queue_items WHERE queue_items.queue = queues.queue),
         bytes = (SELECT sum(bytes) FROM queue_items WHERE queue_items.queue = queues.queue);",
    // `tag` has the bits of an unsigned integer. `used` orders the streams of a device by their last use.
    // AUTOINCREMENT never reuses a number, so that a reader who has read up to one misses none.
    "CREATE TABLE installation (id BLOB NOT NULL) STRICT;
     INSERT INTO installation VALUES (randomblob(16));
     CREATE TABLE up_devices (device TEXT PRIMARY KEY, fence INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE up_streams (
         device TEXT NOT NULL,
         stream BLOB NOT NULL,
         lane INTEGER NOT NULL,
         up_to INTEGER NOT NULL,
         tag INTEGER NOT NULL,
         used INTEGER NOT NULL,
         PRIMARY KEY (device, stream)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE message_log (
         number INTEGER PRIMARY KEY AUTOINCREMENT,
         device TEXT NOT NULL,
         lane INTEGER NOT NULL,
         tag INTEGER NOT NULL,
         redelivered INTEGER NOT NULL,
         sent_at_ms INTEGER,
         at INTEGER NOT NULL,
         raw INTEGER NOT NULL,
         bytes INTEGER NOT NULL,
         body BLOB NOT NULL
     ) STRICT;
     CREATE TABLE message_log_size (id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;
     INSERT INTO message_log_size VALUES (0, 0);",
    // A message has its number in the stream while it waits. `state` is a `DownState`, see `sqlite/device_queue`.
    // `held` is set once a message that was handed out was found to be due, so that it is not found again.
    // `down_voids` has the numbers whose message was given up, as ranges.
    "CREATE TABLE down_devices (
         device TEXT PRIMARY KEY,
         waiting INTEGER NOT NULL,
         bytes INTEGER NOT NULL,
         settled INTEGER NOT NULL,
         keys INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE down_size (id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;
     INSERT INTO down_size VALUES (0, 0);
     CREATE TABLE down_streams (
         device TEXT NOT NULL,
         lane INTEGER NOT NULL,
         stream BLOB NOT NULL,
         newest INTEGER NOT NULL,
         acknowledged INTEGER NOT NULL,
         tag INTEGER NOT NULL,
         tried INTEGER NOT NULL,
         voids INTEGER NOT NULL,
         PRIMARY KEY (device, lane)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE down_voids (
         device TEXT NOT NULL,
         lane INTEGER NOT NULL,
         last INTEGER NOT NULL,
         first INTEGER NOT NULL,
         reason INTEGER NOT NULL,
         PRIMARY KEY (device, lane, last)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE down_messages (
         number INTEGER PRIMARY KEY AUTOINCREMENT,
         device TEXT NOT NULL,
         tag INTEGER NOT NULL,
         lane INTEGER NOT NULL,
         sequence INTEGER,
         state INTEGER NOT NULL DEFAULT 0,
         redelivered INTEGER NOT NULL DEFAULT 0,
         held INTEGER NOT NULL DEFAULT 0,
         at INTEGER NOT NULL,
         changed_at INTEGER NOT NULL,
         expires_at INTEGER NOT NULL,
         collapse_key TEXT,
         raw INTEGER NOT NULL,
         bytes INTEGER NOT NULL,
         body BLOB
     ) STRICT;
     CREATE UNIQUE INDEX down_messages_by_tag ON down_messages (device, tag);
     CREATE INDEX down_messages_by_device ON down_messages (device);
     CREATE UNIQUE INDEX down_messages_by_sequence ON down_messages (device, lane, sequence)
         WHERE sequence IS NOT NULL;
     CREATE INDEX down_messages_by_key ON down_messages (device, collapse_key)
         WHERE sequence IS NOT NULL AND collapse_key IS NOT NULL;
     CREATE INDEX down_messages_by_expiry ON down_messages (expires_at) WHERE sequence IS NOT NULL AND held = 0;
     CREATE INDEX down_messages_settled ON down_messages (changed_at) WHERE sequence IS NULL;
     CREATE INDEX down_messages_settled_of_device ON down_messages (device, changed_at) WHERE sequence IS NULL;
     CREATE TABLE down_keys (
         device TEXT NOT NULL,
         key BLOB NOT NULL,
         digest BLOB NOT NULL,
         tag INTEGER NOT NULL,
         at INTEGER NOT NULL,
         PRIMARY KEY (device, key)
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX down_keys_of_device ON down_keys (device, at);
     CREATE INDEX down_keys_by_time ON down_keys (at);",
    // `pending` is what a consumer missed and has not acknowledged yet, `missed` what it missed before.
    "CREATE TABLE message_consumers (
         name TEXT PRIMARY KEY,
         asked TEXT,
         scope TEXT,
         place INTEGER NOT NULL,
         pending INTEGER NOT NULL,
         missed INTEGER NOT NULL,
         used_at INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;",
    // `came_by_token` is set once the device has stored its token; then its nonce is useless. `ends_at` is when a claim
    // has or will have become useless, as far as is known.
    "ALTER TABLE devices ADD COLUMN registered_by TEXT;
     ALTER TABLE devices ADD COLUMN registered_at INTEGER;
     ALTER TABLE devices ADD COLUMN registered_from TEXT;
     ALTER TABLE devices ADD COLUMN nonce BLOB;
     ALTER TABLE devices ADD COLUMN came_by_token INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE devices ADD COLUMN returned_at INTEGER;
     ALTER TABLE devices ADD COLUMN reregistration_until INTEGER;
     ALTER TABLE devices ADD COLUMN certificate_key BLOB;
     ALTER TABLE devices ADD COLUMN certificate_refused INTEGER NOT NULL DEFAULT 0;
     CREATE INDEX devices_by_registration ON devices (registered_by, id) WHERE registered_by IS NOT NULL;
     CREATE TABLE claims (
         number INTEGER PRIMARY KEY AUTOINCREMENT,
         id INTEGER NOT NULL UNIQUE,
         hash BLOB NOT NULL UNIQUE,
         devices TEXT NOT NULL,
         uses INTEGER NOT NULL,
         used INTEGER NOT NULL DEFAULT 0,
         returns INTEGER NOT NULL,
         returned INTEGER NOT NULL DEFAULT 0,
         expires_at INTEGER,
         revoked_at INTEGER,
         label TEXT,
         approval INTEGER NOT NULL,
         note TEXT,
         created_at INTEGER NOT NULL,
         created_by TEXT NOT NULL,
         ends_at INTEGER
     ) STRICT;
     CREATE INDEX claims_by_end ON claims (ends_at) WHERE ends_at IS NOT NULL;
     CREATE TABLE claim_uses (
         number INTEGER PRIMARY KEY AUTOINCREMENT,
         claim INTEGER NOT NULL,
         device TEXT NOT NULL,
         at INTEGER NOT NULL,
         address TEXT,
         returned INTEGER NOT NULL
     ) STRICT;
     CREATE INDEX claim_uses_by_claim ON claim_uses (claim, number);
     CREATE TABLE approvals (
         device TEXT PRIMARY KEY,
         claim INTEGER NOT NULL,
         nonce BLOB,
         state INTEGER NOT NULL,
         since INTEGER NOT NULL,
         asked_at INTEGER NOT NULL,
         address TEXT
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX approvals_by_time ON approvals (asked_at);",
    // What lists and counts of all devices look at, in a tenth of the table's pages.
    "CREATE INDEX devices_listed ON devices (id, forgotten, blocked_at, label);",
];

/// The size in bytes that the write-ahead log keeps when it is not needed.
const WAL_KEPT: i64 = 8 * 1024 * 1024;

/// The number of prepared statements that are kept: more than there are.
const STATEMENTS: usize = 128;

/// What to do with an empty file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfEmpty {
    /// Make it a store.
    Create,
    /// Reject it: it has replaced a store.
    Reject,
}

/// The version that this program writes.
pub(super) fn latest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Prepares a database that was just opened: migrates an older version to the latest one, each step in its
/// own transaction.
pub(super) fn prepare(
    database: &mut Connection,
    location: &str,
    if_empty: IfEmpty,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::failed(location, "open", error);
    let mut is_new = false;
    loop {
        // Without a transaction, as a writing one may have to wait.
        match inspect(database).map_err(failed)? {
            Found::Version(version) if version == latest() => break,
            Found::Version(version) if version > latest() => {
                let (location, known) = (location.to_owned(), latest());
                return Err(StoreError::Newer { location, found: version, known });
            }
            Found::Version(0) if if_empty == IfEmpty::Reject => {
                return Err(StoreError::Empty { location: location.to_owned() });
            }
            Found::Version(version) => {
                if version == 0 {
                    is_new = true;
                    shrink::prepare(database).map_err(failed)?;
                }
                if migrate(database, version).map_err(failed)? && !is_new {
                    let to = version + 1;
                    tracing::info!(store = location, from = version, to, "migrated the store");
                }
            }
            Found::Retired(_) => return Err(retired::error(database, location)),
            Found::Foreign => return Err(StoreError::Foreign { location: location.to_owned() }),
        }
    }
    database.set_prepared_statement_cache_capacity(STATEMENTS);
    // With WAL readers and the writer don't wait for each other. FULL syncs each commit, so that a
    // revocation or an account survives a power cut.
    database.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    database.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    // After a big transaction the log is made shorter again.
    database.pragma_update(None, "journal_size_limit", WAL_KEPT).map_err(failed)?;
    shrink::convert(database, location).map_err(failed)
}

/// The content of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A store of this version; 0 if it is empty.
    Version(i64),
    /// A store of this version whose content was moved to a database.
    Retired(i64),
    /// Another program's database.
    Foreign,
}

pub(super) fn inspect(database: &Connection) -> rusqlite::Result<Found> {
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id")?;
    if application == APPLICATION_ID {
        let version = pragma("user_version")?;
        let retired = version.checked_sub(RETIRED).filter(|version| *version > 0);
        return Ok(retired.map_or(Found::Version(version), Found::Retired));
    }
    let tables: i64 =
        database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(if application == 0 && tables == 0 { Found::Version(0) } else { Found::Foreign })
}

/// Migrates from `version` to the next. Returns false if another process has done it already.
fn migrate(database: &mut Connection, version: i64) -> rusqlite::Result<bool> {
    let tx = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let place = usize::try_from(version).unwrap_or(usize::MAX);
    let (Found::Version(found), Some(migration)) = (inspect(&tx)?, MIGRATIONS.get(place)) else {
        return Ok(false);
    };
    if found != version {
        return Ok(false);
    }
    tx.execute_batch(migration)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", version + 1)?;
    tx.commit()?;
    Ok(true)
}
