//! Tests of [`SqliteStore`] beyond the contract: its file, migrations, other processes, limits. Failures of
//! the file are tested in `faults`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fedecks_protocol::DeviceId;
use futures_util::future::join_all;
use rusqlite::Connection;
use tempfile::TempDir;

use super::device_list::SCAN_ROWS;
use super::schema;
use super::store::{ANSWER_GRACE, SqliteStore, StoreOptions};
use super::worker::CALL_TIMEOUT;
use crate::accounts::AccountStore;
use crate::api_tokens::ApiTokenStore;
use crate::audit::{AuditAction, AuditEntry, AuditQuery, AuditStore};
use crate::conformance;
use crate::conformance::support::{cli, device, until};
use crate::devices::{AccessState, DeviceQuery, DeviceStore};
use crate::error::StoreError;
use crate::queue::{QueueBudget, QueueStore};
use crate::queue_item::QueueItem;
use crate::stats::StoreMonitor;

pub(super) fn devices(count: usize) -> Vec<DeviceId> {
    (0..count).map(|number| device(&format!("device-{number}"))).collect()
}

/// Waits until no note is left to write.
pub(super) async fn flushed(store: &SqliteStore) {
    until(async || (store.stats().waiting == 0).then_some(())).await;
}

/// The path of a store in a temporary directory.
fn path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
}

/// A new store in a temporary directory.
pub(super) fn new_store() -> (TempDir, PathBuf, SqliteStore) {
    let (dir, path) = path();
    let store = SqliteStore::open(&path).unwrap();
    (dir, path, store)
}

/// Makes a store of version 10 one of version 8, except for the number.
pub(super) const BEFORE_CLAIMS: &str = "
    DROP INDEX devices_listed;
    DROP INDEX devices_by_registration;
    ALTER TABLE devices DROP COLUMN registered_by;
    ALTER TABLE devices DROP COLUMN registered_at;
    ALTER TABLE devices DROP COLUMN registered_from;
    ALTER TABLE devices DROP COLUMN nonce;
    ALTER TABLE devices DROP COLUMN came_by_token;
    ALTER TABLE devices DROP COLUMN returned_at;
    ALTER TABLE devices DROP COLUMN reregistration_until;
    ALTER TABLE devices DROP COLUMN certificate_key;
    ALTER TABLE devices DROP COLUMN certificate_refused;
    DROP TABLE claims;
    DROP TABLE claim_uses;
    DROP TABLE approvals;
";

/// The files in a directory, except the locks, which stay.
pub(super) fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_store_conforms_in_memory_and_in_a_file() {
    conformance::check(async || SqliteStore::in_memory().unwrap()).await;
    let (_dir, path) = path();
    let number = AtomicUsize::new(0);
    conformance::check(async || {
        let extension = number.fetch_add(1, Ordering::Relaxed).to_string();
        SqliteStore::open(path.with_extension(extension)).unwrap()
    })
    .await;
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let (_dir, path, store) = new_store();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    store.block(&device("b"), &cli()).await.unwrap();
    store.seen(&device("a"), 0, 7, false);
    let (by, action) = (cli(), AuditAction::MessageSent);
    store.audit_later(AuditEntry { at: 7, by, action, device: Some(device("a")), detail: None });
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));
    let devices = store.devices_page(&DeviceQuery::default()).await.unwrap();
    let [a, b] = &devices[..] else { panic!("{devices:?}") };
    assert_eq!((&a.id, a.last_seen, a.blocked_at), (&device("a"), Some(7), None));
    assert_eq!((&b.id, b.last_seen), (&device("b"), None));
    assert!(b.blocked_at.is_some());
    let log = store.audit_page(&AuditQuery::default()).await.unwrap();
    let actions: Vec<_> = log.iter().map(|record| record.action).collect();
    let expected =
        [AuditAction::MessageSent, AuditAction::DeviceBlocked, AuditAction::AccountAdded];
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn two_processes_share_the_file() {
    let (_dir, path, server) = new_store();
    let command = SqliteStore::open_beside(&path, StoreOptions::default()).unwrap();
    command.add_account("marvin", "hash", &cli()).await.unwrap();
    assert!(server.password_hash("marvin").await.unwrap().is_some());
    let first = server.revoke(&device("a"), &cli()).await.unwrap();
    let second = command.revoke(&device("a"), &cli()).await.unwrap();
    assert_eq!(server.access_states_after(first.change).await.unwrap(), [second]);
}

#[tokio::test]
async fn files_are_readable_by_their_owner_only() {
    let (dir, _, store) = new_store();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    assert_eq!(names(&dir), ["store", "store-shm", "store-wal"]);
    for name in names(&dir) {
        let mode = fs::metadata(dir.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// A file of version 0.1.0 with some content.
const VERSION_1: &str = "
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
    PRAGMA application_id = 1717857139;
    PRAGMA user_version = 1;
    PRAGMA journal_mode = WAL;
    INSERT INTO accounts VALUES ('marvin', 'hash', 1700000000);
    INSERT INTO devices VALUES ('a', 10, 20, 0, NULL), ('b', NULL, NULL, 2, 3);
";

#[tokio::test]
async fn a_file_of_version_1_is_migrated_with_its_content() {
    let (_dir, path) = path();
    Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
    for _ in 0..2 {
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));
        let devices = store.devices_page(&DeviceQuery::default()).await.unwrap();
        let [a, b] = &devices[..] else { panic!("{devices:?}") };
        assert_eq!((a.first_seen, a.last_seen, a.generation), (Some(10), Some(20), 0));
        assert_eq!((b.first_seen, b.generation, b.blocked_at), (None, 2, None));
        let expected =
            AccessState { device: device("b"), generation: 2, blocked: false, change: 3 };
        assert_eq!(store.access_states_after(0).await.unwrap(), [expected]);
    }
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.revoke(&device("a"), &cli()).await.unwrap().change, 4);
    store.block(&device("b"), &cli()).await.unwrap().unwrap();
    assert_eq!(store.api_tokens().await.unwrap(), []);
    assert_eq!(store.audit_page(&AuditQuery::default()).await.unwrap().len(), 2);
}

#[test]
fn concurrent_openers_migrate_an_old_file_once() {
    for _ in 0..20 {
        let (_dir, path) = path();
        Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
        std::thread::scope(|scope| {
            let open = || SqliteStore::open_beside(&path, StoreOptions::default()).map(drop);
            let opening: Vec<_> = (0..3).map(|_| scope.spawn(open)).collect();
            for opened in opening {
                opened.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_file_that_is_not_a_current_store_is_rejected_unchanged() {
    let (_dir, path, store) = new_store();
    drop(store);
    let rejected = |path: &Path| {
        let before = fs::read(path).ok();
        let error = SqliteStore::open(path).err().unwrap();
        assert_eq!(fs::read(path).ok(), before);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        error
    };
    let newer = schema::latest() + 1;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", newer).unwrap();
    assert!(matches!(rejected(&path), StoreError::Newer { found, .. } if found == newer));
    let theirs = path.with_file_name("theirs");
    Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(rejected(&theirs), StoreError::Foreign { .. }));
    let garbage = path.with_file_name("garbage");
    fs::write(&garbage, "not a database, but long enough to be checked").unwrap();
    let empty = path.with_file_name("empty");
    fs::write(&empty, "").unwrap();
    assert!(matches!(rejected(&empty), StoreError::Empty { .. }));
    for (path, action) in [(path.with_file_name("missing/store"), "create"), (garbage, "open")] {
        let error = rejected(&path).to_string();
        let expected = format!("cannot {action} the store {}: ", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn a_store_is_created_once_and_complete() {
    let (dir, path) = path();
    let missing = SqliteStore::open_existing(&path, StoreOptions::default()).err().unwrap();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    let created = std::thread::scope(|scope| {
        let creating: Vec<_> = (0..4).map(|_| scope.spawn(|| SqliteStore::create(&path))).collect();
        creating.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 1, "{created:?}");
    let others = created.iter().filter_map(|created| created.as_ref().err());
    for error in others {
        assert!(matches!(error, StoreError::Exists { what: "store", .. }), "{error}");
    }
    assert_eq!(names(&dir), ["store"]);
    assert!(fs::metadata(&path).unwrap().len() > 0);
    SqliteStore::open_existing(&path, StoreOptions::default()).unwrap();
}

#[tokio::test]
async fn writes_wait_for_a_locked_file_but_reads_and_notes_do_not() {
    let (_dir, path, store) = new_store();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();

    store.seen(&device("a"), 0, 7, false);
    let (first, second) = (device("first"), device("second"));
    let by = cli();
    let changes = async { tokio::join!(store.revoke(&first, &by), store.revoke(&second, &by)) };
    let mut changes = std::pin::pin!(changes);
    let reads = async {
        for _ in 0..200 {
            store.password_hash("marvin").await.unwrap().unwrap();
        }
    };
    // Both changes are queued, and neither is done after two hundred reads.
    tokio::select! {
        biased;
        done = &mut changes => panic!("{done:?}"),
        () = reads => {}
    }
    assert_eq!(store.stats().notes_dropped, 0);
    assert_eq!(store.stats().waiting, 1);

    other.execute_batch("COMMIT").unwrap();
    let (first, second) = changes.await;
    assert!(first.unwrap().change < second.unwrap().change, "they keep their order");
    flushed(&store).await;
    assert_eq!(store.device(&device("a")).await.unwrap().unwrap().last_seen, Some(7));
}

#[tokio::test]
async fn every_call_times_out_if_the_file_stays_locked() {
    let (_dir, path, store) = new_store();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let started = Instant::now();
    let by = cli();
    let devices = devices(100);
    let calls = devices.iter().map(|device| store.revoke(device, &by));
    for answer in join_all(calls).await {
        assert!(matches!(answer, Err(StoreError::Busy { .. })));
    }
    let took = started.elapsed();
    assert!(took >= CALL_TIMEOUT && took < CALL_TIMEOUT + ANSWER_GRACE, "{took:?}");
    assert_eq!(store.stats().busy, 100);
    assert!(!store.stats().healthy);
    other.execute_batch("COMMIT").unwrap();
    store.revoke(&devices[0], &by).await.unwrap();
    assert!(store.stats().healthy);
}

#[tokio::test]
async fn a_search_continues_beyond_one_scan() {
    let store = SqliteStore::in_memory().unwrap();
    for number in 0..2 * SCAN_ROWS + 10 {
        store.seen(&device(&format!("device-{number:06}")), 0, 1, false);
    }
    flushed(&store).await;
    let found = async |search: &str, limit: u32| {
        let search = Some(search.to_owned());
        let query = DeviceQuery { search, limit, ..DeviceQuery::default() };
        let page = store.devices_page(&query).await.unwrap();
        page.iter().map(|record| record.id.to_string()).collect::<Vec<_>>()
    };
    // The last row of all, the last of one scan, and the first of the next.
    for number in [2 * SCAN_ROWS + 9, SCAN_ROWS - 1, SCAN_ROWS] {
        let search = format!("{number:06}");
        assert_eq!(found(&search, 10).await, [format!("device-{search}")]);
    }
    assert_eq!(found("5", 1000).await.len(), 1000, "the limit, from several scans");
    assert_eq!(found("nothing", 10).await, [""; 0]);
}

#[tokio::test]
async fn a_file_shrinks_after_its_queue_was_emptied() {
    let (_dir, path, store) = new_store();
    let size = || fs::metadata(&path).unwrap().len();
    let budget = |items| QueueBudget { items, bytes: u64::MAX };
    for number in 0..16 {
        let (lane, id, body) = (String::new(), number.to_string(), "x".repeat(1_000_000).into());
        let item = QueueItem { lane, id, body, at: 1 };
        store.enqueue("q", vec![item], 0, budget(16), Duration::ZERO).await.unwrap();
    }
    assert!(size() > 12_000_000, "{}", size());
    let dropped = store.drop_oldest("q", budget(0), Duration::ZERO).await.unwrap();
    assert_eq!((dropped.items, dropped.status.bytes), (16, 0));
    until(async || (size() < 1_500_000).then_some(())).await;
    // What is stored next is stored as before.
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    assert!(store.password_hash("marvin").await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_that_cannot_shrink_is_rewritten_so_that_it_can() {
    let (_dir, path, store) = new_store();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    drop(store);
    let other = Connection::open(&path).unwrap();
    let mode = |of: &Connection| of.pragma_query_value(None, "auto_vacuum", |row| row.get(0));
    other.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    assert_eq!(mode(&other), Ok(0));
    drop(other);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(mode(&Connection::open(&path).unwrap()), Ok(2));
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));
}

#[tokio::test]
async fn a_login_waits_for_a_part_of_many_notes() {
    let store = SqliteStore::in_memory().unwrap();
    (0..50_000).for_each(|number| store.seen(&device(&format!("device-{number}")), 0, 1, false));
    // Until the first of them are written.
    until(async || (store.stats().waiting < 50_000).then_some(())).await;
    store.password_hash("marvin").await.unwrap();
    assert!(store.stats().waiting > 20_000, "{} left", store.stats().waiting);
    flushed(&store).await;
}
