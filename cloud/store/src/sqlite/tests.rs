//! Tests of [`SqliteStore`] beyond the contract: its file, migrations, other processes, limits. Failures of
//! the file are tested in `faults`.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fedecks_protocol::DeviceId;
use futures_util::future::join_all;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::devices::SCAN_ROWS;
use super::schema;
use super::store::{ANSWER_GRACE, MAX_CONCURRENT, SqliteStore, StoreOptions};
use super::worker::{CALL_TIMEOUT, QUEUE_LENGTH};
use crate::accounts::AccountStore;
use crate::api_tokens::ApiTokenStore;
use crate::audit::{Actor, AuditAction, AuditEntry, AuditQuery, AuditStore};
use crate::conformance;
use crate::devices::{AccessState, DeviceQuery, DeviceStore};
use crate::error::StoreError;
use crate::stats::StoreMonitor;

pub(super) fn device(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

fn devices(count: usize) -> Vec<DeviceId> {
    (0..count).map(|number| device(&format!("device-{number}"))).collect()
}

pub(super) fn cli() -> Actor {
    Actor::cli()
}

/// Waits until `check` returns true: the thread works in the background.
pub(super) async fn until(check: impl Fn() -> bool) {
    let waiting = async {
        while !check() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
}

/// The path of a store in a temporary directory.
fn path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
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
    let (_dir, path) = path();
    {
        let store = SqliteStore::open(&path).unwrap();
        store.add_account("marvin", "hash", &cli()).await.unwrap();
        store.block(&device("b"), &cli()).await.unwrap();
        store.seen(&device("a"), 0, 7);
        store.audit_later(AuditEntry {
            at: 7,
            by: cli(),
            action: AuditAction::MessageSent,
            device: Some(device("a")),
            detail: None,
        });
    }
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));
    let [a, b] = &store.devices_page(&DeviceQuery::default()).await.unwrap()[..] else {
        panic!("two devices");
    };
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
    let (_dir, path) = path();
    let (server, command) = (SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap());
    command.add_account("marvin", "hash", &cli()).await.unwrap();
    assert!(server.password_hash("marvin").await.unwrap().is_some());
    let first = server.revoke(&device("a"), &cli()).await.unwrap();
    let second = command.revoke(&device("a"), &cli()).await.unwrap();
    assert_eq!(server.access_states_after(first.change).await.unwrap(), [second]);
}

#[tokio::test]
async fn the_audit_log_keeps_the_configured_number_of_lines() {
    let (_dir, path) = path();
    let store = SqliteStore::open_with(path, StoreOptions { audit_kept: 3 }).unwrap();
    for device in devices(5) {
        store.revoke(&device, &cli()).await.unwrap();
    }
    let log = store.audit_page(&AuditQuery::default()).await.unwrap();
    let sequences: Vec<_> = log.iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, [5, 4, 3]);
}

#[tokio::test]
async fn files_are_readable_by_their_owner_only() {
    let (dir, path) = path();
    let store = SqliteStore::open(path).unwrap();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    names.sort();
    assert_eq!(names, ["store", "store-shm", "store-wal"]);
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
            let opening: Vec<_> =
                (0..3).map(|_| scope.spawn(|| SqliteStore::open(&path).map(drop))).collect();
            for opened in opening {
                opened.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_file_of_a_newer_version_is_rejected_and_not_changed() {
    let (_dir, path) = path();
    drop(SqliteStore::open(&path).unwrap());
    let newer = schema::latest() + 1;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", newer).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found, .. } if found == newer), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_rejected() {
    let (_dir, path) = path();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn errors_name_the_file_and_the_action() {
    let (dir, garbage) = path();
    std::fs::write(&garbage, "not a database, but long enough to be checked").unwrap();
    for path in [dir.path().join("missing/store"), garbage] {
        let error = SqliteStore::open(&path).err().unwrap().to_string();
        let expected = format!("cannot open the store {}: ", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[tokio::test]
async fn writes_wait_for_a_locked_file_but_reads_and_notes_do_not() {
    let (_dir, path) = path();
    let store = SqliteStore::open(&path).unwrap();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();

    store.seen(&device("a"), 0, 7);
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
    until(|| store.stats().waiting == 0).await;
    assert_eq!(store.device(&device("a")).await.unwrap().unwrap().last_seen, Some(7));
}

#[tokio::test]
async fn every_call_times_out_if_the_file_stays_locked() {
    let (_dir, path) = path();
    let store = SqliteStore::open(&path).unwrap();
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
async fn a_full_queue_refuses_calls() {
    let store = SqliteStore::in_memory().unwrap();
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (started, start) = oneshot::channel();
    let mut started = Some(started);
    let blocker = store.read(move |_| {
        started.take().unwrap().send(()).unwrap();
        gate.recv().unwrap();
        Ok(())
    });
    let others = async {
        start.await.unwrap();
        // A call that finds the queue full is refused before the first in it is answered.
        let logins = (0..=QUEUE_LENGTH).map(|_| async {
            let answer = store.password_hash("marvin").await;
            if answer.is_err() {
                release.send(()).unwrap();
            }
            answer
        });
        join_all(logins).await
    };
    let (blocked, answers) = tokio::join!(blocker, others);
    blocked.unwrap();
    let refused = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Busy { .. })));
    assert_eq!(refused.count(), 1);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(None))).count(), QUEUE_LENGTH);
}

#[tokio::test]
async fn a_login_waits_for_few_calls_of_others() {
    let store = SqliteStore::in_memory().unwrap();
    let done = AtomicUsize::new(0);
    let by = cli();
    let devices = devices(500);
    let flood = join_all(devices.iter().map(|device| async {
        store.block(device, &by).await.unwrap();
        done.fetch_add(1, Ordering::Relaxed)
    }));
    let login = async {
        store.password_hash("marvin").await.unwrap();
        done.load(Ordering::Relaxed)
    };
    // The flood is queued first.
    let (_, before) = tokio::join!(flood, login);
    assert!(before <= 2 * MAX_CONCURRENT, "{before} before it");
}

#[tokio::test]
async fn a_search_continues_beyond_one_scan() {
    let store = SqliteStore::in_memory().unwrap();
    for number in 0..2 * SCAN_ROWS + 10 {
        store.seen(&device(&format!("device-{number:06}")), 0, 1);
    }
    until(|| store.stats().waiting == 0).await;
    let found = async |search: &str, limit: u32| {
        let search = Some(search.to_owned());
        let query = DeviceQuery { search, limit, ..DeviceQuery::default() };
        let page = store.devices_page(&query).await.unwrap();
        page.iter().map(|record| record.id.to_string()).collect::<Vec<_>>()
    };
    let last = format!("device-{:06}", 2 * SCAN_ROWS + 9);
    assert_eq!(found(&last, 10).await, [last]);
    // The last row of one scan, and the first of the next.
    let last_of_scan = format!("{:06}", SCAN_ROWS - 1);
    assert_eq!(found(&last_of_scan, 10).await, [format!("device-{last_of_scan}")]);
    let after = format!("{SCAN_ROWS:06}");
    assert_eq!(found(&after, 10).await, [format!("device-{after}")]);
    assert_eq!(found("5", 1000).await.len(), 1000, "the limit, from several scans");
    assert_eq!(found("nothing", 10).await, [""; 0]);
}
