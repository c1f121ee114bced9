//! Tests of [`SqliteStore`] beyond the contract: its file and older ones, other processes, bounds.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fedecks_protocol::DeviceId;
use futures_util::future::join_all;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::devices::STRIDE;
use super::schema;
use super::store::{ANSWER_PATIENCE, AT_ONCE, SqliteStore, StoreOptions};
use super::worker::{LINE, PATIENCE};
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

pub(super) fn cli() -> Actor {
    Actor::cli()
}

/// Waits for something that the thread does by itself.
pub(super) async fn until(happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
}

#[tokio::test]
async fn it_conforms_to_the_trait_in_memory() {
    conformance::check(async || SqliteStore::in_memory().unwrap()).await;
}

#[tokio::test]
async fn it_conforms_to_the_trait_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicUsize::new(0);
    conformance::check(async || {
        let name = format!("store-{}", number.fetch_add(1, Ordering::Relaxed));
        SqliteStore::open(folder.path().join(name)).unwrap()
    })
    .await;
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (server, command) = (SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap());
    command.add_account("marvin", "hash", &cli()).await.unwrap();
    assert!(server.password_hash("marvin").await.unwrap().is_some());
    let first = server.revoke(&device("a"), &cli()).await.unwrap();
    let second = command.revoke(&device("a"), &cli()).await.unwrap();
    assert_eq!(server.standings_after(first.change).await.unwrap(), [second]);
}

#[tokio::test]
async fn the_audit_log_keeps_as_many_lines_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { audit_kept: 3 };
    let store = SqliteStore::open_with(folder.path().join("store"), options).unwrap();
    for number in 0..5 {
        store.revoke(&device(&format!("device-{number}")), &cli()).await.unwrap();
    }
    let log = store.audit_page(&AuditQuery::default()).await.unwrap();
    let sequences: Vec<_> = log.iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, [5, 4, 3]);
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store")).unwrap();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    names.sort();
    assert_eq!(names, ["store", "store-shm", "store-wal"]);
}

/// What version 0.1.0 made, with something in it.
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
async fn a_file_of_version_1_is_brought_up_to_date_with_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
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
        assert_eq!(store.standings_after(0).await.unwrap(), [expected]);
    }
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.revoke(&device("a"), &cli()).await.unwrap().change, 4);
    store.block(&device("b"), &cli()).await.unwrap().unwrap();
    assert_eq!(store.api_tokens().await.unwrap(), []);
    assert_eq!(store.audit_page(&AuditQuery::default()).await.unwrap().len(), 2);
}

#[test]
fn two_that_open_an_old_file_at_once_bring_it_up_to_date_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
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
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
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
fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn errors_name_the_file_and_what_was_tried() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("store");
    let error = SqliteStore::open(&missing).err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot open the store {}: ", missing.display())),
        "{error}"
    );

    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "no database at all, but long enough to be looked at").unwrap();
    let error = SqliteStore::open(&garbage).err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot open the store {}: ", garbage.display())),
        "{error}"
    );
}

#[tokio::test]
async fn while_another_process_holds_the_file_changes_wait_and_looks_and_notes_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fedecks.sqlite");
    let store = SqliteStore::open(&path).unwrap();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();

    store.seen(&device("a"), 0, 7);
    let (first, second) = (device("first"), device("second"));
    let by = cli();
    let changes = async { tokio::join!(store.revoke(&first, &by), store.revoke(&second, &by)) };
    let mut changes = std::pin::pin!(changes);
    let looking = async {
        for _ in 0..200 {
            store.password_hash("marvin").await.unwrap().unwrap();
        }
    };
    // Both changes are on their way, and neither is done when two hundred looks are.
    tokio::select! {
        biased;
        done = &mut changes => panic!("{done:?}"),
        () = looking => {}
    }
    assert_eq!(store.stats().notes_dropped, 0);
    assert_eq!(store.stats().waiting, 1);

    holder.execute_batch("COMMIT").unwrap();
    let (first, second) = changes.await;
    assert!(first.unwrap().change < second.unwrap().change, "they keep their order");
    until(|| store.stats().waiting == 0).await;
    assert_eq!(store.device(&device("a")).await.unwrap().unwrap().last_seen, Some(7));
}

#[tokio::test]
async fn a_file_that_is_held_for_long_is_busy_for_all_after_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fedecks.sqlite");
    let store = SqliteStore::open(&path).unwrap();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let started = Instant::now();
    let by = cli();
    let devices: Vec<_> = (0..100).map(|number| device(&format!("device-{number}"))).collect();
    let calls = devices.iter().map(|device| store.revoke(device, &by));
    for answer in join_all(calls).await {
        assert!(matches!(answer, Err(StoreError::Busy { .. })));
    }
    let took = started.elapsed();
    assert!(took >= PATIENCE && took < PATIENCE + ANSWER_PATIENCE, "{took:?}");
    assert_eq!(store.stats().busy, 100);
    assert!(!store.stats().healthy);
    holder.execute_batch("COMMIT").unwrap();
    store.revoke(&devices[0], &by).await.unwrap();
    assert!(store.stats().healthy);
}

#[tokio::test]
async fn a_full_line_refuses_instead_of_waiting() {
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
        // Whoever comes when the line is full is refused before the first of it is answered.
        let logins = (0..=LINE).map(|_| async {
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
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(None))).count(), LINE);
}

#[tokio::test]
async fn a_login_waits_for_few_of_the_calls_that_others_make() {
    let store = SqliteStore::in_memory().unwrap();
    let done = AtomicUsize::new(0);
    let by = cli();
    let devices: Vec<_> = (0..500).map(|number| device(&format!("device-{number}"))).collect();
    let flood = join_all(devices.iter().map(|device| async {
        store.block(device, &by).await.unwrap();
        done.fetch_add(1, Ordering::Relaxed)
    }));
    let login = async {
        store.password_hash("marvin").await.unwrap();
        done.load(Ordering::Relaxed)
    };
    // The flood is there first.
    let (_, before) = tokio::join!(flood, login);
    assert!(before <= 2 * AT_ONCE, "{before} before it");
}

#[tokio::test]
async fn a_search_that_looks_at_everything_finds_what_lies_far_behind() {
    let store = SqliteStore::in_memory().unwrap();
    for number in 0..2 * STRIDE + 10 {
        store.seen(&device(&format!("device-{number:06}")), 0, 1);
    }
    until(|| store.stats().waiting == 0).await;
    let found = async |search: &str, limit: u32| {
        let search = Some(search.to_owned());
        let query = DeviceQuery { search, limit, ..DeviceQuery::default() };
        let page = store.devices_page(&query).await.unwrap();
        page.iter().map(|record| record.id.to_string()).collect::<Vec<_>>()
    };
    let last = format!("device-{:06}", 2 * STRIDE + 9);
    assert_eq!(found(&last, 10).await, [last]);
    // The last of one stride, and the first of the next.
    let border = format!("{:06}", STRIDE - 1);
    assert_eq!(found(&border, 10).await, [format!("device-{border}")]);
    let after = format!("{STRIDE:06}");
    assert_eq!(found(&after, 10).await, [format!("device-{after}")]);
    assert_eq!(found("5", 1000).await.len(), 1000, "as many as asked for, of several strides");
    assert_eq!(found("nothing", 10).await, [""; 0]);
}
