//! Tests of moving a file to a real database: all that the tests of the contract leave in files.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use fedecks_protocol::{DeviceId, Lane, StreamId, Tag};
use rusqlite::Connection;

use super::*;
use crate::accounts::AccountStore;
use crate::claims::ClaimQuery;
use crate::conformance;
use crate::conformance::support::cli;
use crate::device_queue::{DownRoom, NewDown};
use crate::down_size::DownLimits;
use crate::messages::{Effects, LogQuery, LoggedContent, NewLogged, Step, StreamPosition};
use crate::postgres::test_server::{TestServer, server};
use crate::postgres::{PostgresOptions, PostgresStore};
use crate::queue::Room;
use crate::registrations::Approval;
use crate::sqlite::{SqliteStore, StoreOptions};
use crate::store::Store;
use crate::time::unix_now;

fn texts(file: &Path, sql: &str) -> Vec<String> {
    let database = Connection::open(file).unwrap();
    let mut statement = database.prepare(sql).unwrap();
    let found = statement.query_map([], |row| row.get(0)).unwrap();
    found.map(Result::unwrap).collect()
}

fn devices_of(file: &Path) -> Vec<DeviceId> {
    let sql = "SELECT id FROM devices UNION SELECT device FROM down_devices UNION SELECT device FROM down_streams
        UNION SELECT device FROM up_devices UNION SELECT device FROM up_streams";
    texts(file, sql).into_iter().map(|id| DeviceId::new(id).unwrap()).collect()
}

/// What calls that change nothing answer, line by line.
async fn answers(store: &dyn Store, devices: &[DeviceId], queues: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    macro_rules! ask {
        ($($call:expr),+ $(,)?) => {
            $(all.push(format!("{}: {:?}", stringify!($call), $call.await.unwrap()));)+
        };
    }
    ask!(store.installation(), store.accounts(), store.api_tokens(), store.known_logins(1000));
    for account in store.accounts().await.unwrap() {
        ask!(store.password_hash(&account.name));
    }
    let mut audit = crate::audit::AuditQuery::default();
    loop {
        let page = store.audit_page(&audit).await.unwrap();
        all.push(format!("{page:?}"));
        let Some(last) = page.last() else { break };
        audit.before = Some(last.sequence);
    }
    let claims = ClaimQuery { now: unix_now() / 100_000, ..ClaimQuery::default() };
    ask!(
        store.devices_page(&Default::default()),
        store.device_counts(None),
        store.access_states_after(0),
        store.claims_page(&claims),
        store.approvals_page(None, Approval::MAX_PAGE),
        store.consumers(),
        store.log_status(),
        store.logged(&LogQuery { after: 0, devices: Vec::new(), limit: 1000 }),
        store.waiting(),
    );
    for claim in store.claims_page(&claims).await.unwrap() {
        ask!(store.claim_uses(claim.id, None, 100));
    }
    for device in devices {
        ask!(store.device(device), store.device_messages(device, None, 500));
        for message in store.device_messages(device, None, 500).await.unwrap() {
            ask!(store.message_status(device, message.id));
        }
    }
    for queue in queues {
        ask!(store.queue_status(queue), store.dead_letters(queue, 0, 100));
    }
    all
}

/// What calls that change something answer, in the order in which they are made.
async fn continued(store: &dyn Store, devices: &[DeviceId], queues: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    let now = unix_now();
    for device in devices {
        let positions = store.open_streams(device).await.unwrap();
        let mut known = positions.positions;
        known.sort_by_key(|it| it.stream.0);
        all.push(format!("{device}: {known:?}"));
        for lane in [Lane::Normal, Lane::Urgent] {
            let room = DownRoom { messages: 50, bytes: 1_000_000 };
            let window = store.window(device, lane, 0, room, 1).await.unwrap();
            // The id of a new stream is random.
            let window =
                window.map(|it| (it.oldest, it.newest, it.tried, it.entries, it.expired, it.more));
            all.push(format!("{window:?}"));
        }
        let message = NewDown {
            id: Tag(u64::MAX),
            lane: Lane::Normal,
            raw: true,
            body: "more".into(),
            at: now,
            expires_at: now + 1000,
            collapse_key: None,
        };
        let queued = store.queue_message(device, message, None, DownLimits::default()).await;
        all.push(format!("{queued:?}"));
        let newest = store.device_messages(device, None, 1).await.unwrap();
        let newest = newest.first().map(|it| (it.number, it.id, it.bytes));
        all.push(format!("{newest:?}"));
        let blocked = store.block(device, &cli()).await.unwrap();
        all.push(format!("{:?}", blocked.map(|it| (it.device, it.change))));
    }
    // The order of lanes, and then all items.
    for queue in queues {
        let mut at = store.queue_status(queue).await.unwrap().time + Duration::from_secs(1);
        store.release(queue, at).await.unwrap();
        for _ in 0..5 {
            at += Duration::from_millis(1);
            let room = Room { items: 1, bytes: u64::MAX, bigger: true };
            let until = at + Duration::from_secs(100);
            let reserved = store.reserve(queue, room, at, until).await.unwrap();
            for it in &reserved.items {
                all.push(format!("{:?} {} {}", it.item, it.attempts, it.failures));
            }
            all.push(format!("{:?}", reserved.dropped));
        }
    }
    let device = DeviceId::new("one-more").unwrap();
    let fence = store.open_streams(&device).await.unwrap().fence;
    let to =
        StreamPosition { stream: StreamId([9; 16]), lane: Lane::Normal, up_to: 1, tag: Tag(1) };
    let content = LoggedContent::Json("1".into());
    let log = NewLogged { redelivered: false, sent_at_ms: None, at: 7, content };
    let effects = Effects { log: Some(log), enqueue: Vec::new() };
    let accepted = store.accept(&device, fence, vec![Step { from: 0, to, effects }]).await;
    all.push(format!("{accepted:?} {:?}", store.log_status().await.unwrap()));
    let query = crate::audit::AuditQuery { limit: 1, ..Default::default() };
    let newest = store.audit_page(&query).await.unwrap();
    all.push(format!("{:?}", newest.first().map(|it| it.sequence)));
    all
}

/// The files that the tests of the contract leave.
async fn files(folder: &Path) -> Vec<PathBuf> {
    let made = Mutex::new(Vec::new());
    conformance::check(async || {
        let mut made = made.lock().unwrap();
        let file = folder.join(format!("store-{}", made.len()));
        made.push(file.clone());
        SqliteStore::open(file).unwrap()
    })
    .await;
    made.into_inner().unwrap()
}

fn open(file: &Path) -> SqliteStore {
    SqliteStore::open_existing(file, StoreOptions::default()).unwrap()
}

#[tokio::test]
async fn every_call_answers_the_same_after_moving() {
    let server = server!();
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path()).await;
    assert!(files.len() > 10);
    let (mut lines, mut moved_rows) = (0, std::collections::BTreeSet::new());
    for file in files {
        let copy = folder.path().join("copy");
        SqliteStore::back_up(&file, &copy).unwrap();
        let url = server.url(&server.database().await);
        let moved = Moving::to(&url, &file).await.unwrap().run(|_| ()).await.unwrap();
        let MovingOutcome::Moved(tables) = moved else { panic!("{moved:?}") };
        moved_rows.extend(tables.iter().filter(|it| it.count > 0).map(|it| it.rows));

        let devices = devices_of(&copy);
        let queues = texts(&copy, "SELECT name FROM queues ORDER BY name");
        let (before, after) =
            (open(&copy), PostgresStore::open(&url, PostgresOptions::default()).await.unwrap());
        let expected = answers(&before, &devices, &queues).await;
        let found = answers(&after, &devices, &queues).await;
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(found, expected, "{}", file.display());
        }
        assert_eq!(expected.len(), found.len());
        let expected = continued(&before, &devices, &queues).await;
        let found = continued(&after, &devices, &queues).await;
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(found, expected, "{}", file.display());
        }
        lines += expected.len();
        after.close().await;
        drop(before);
        for name in ["copy", "copy-wal", "copy-shm", "copy.lock"] {
            let _ = std::fs::remove_file(folder.path().join(name));
        }
    }
    assert!(lines > 100);
    let all: std::collections::BTreeSet<_> = TABLES.iter().map(|table| table.rows).collect();
    assert_eq!(moved_rows, all, "all tables had rows in some file");
}

#[tokio::test]
async fn all_tables_of_both_stores_are_known() {
    let server = server!();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    SqliteStore::create(&file).unwrap();
    let database = server.database().await;
    let url = server.url(&database);
    let _store = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    let client = server.connect(&database).await;
    let sql = "SELECT attrelid::regclass::text || '.' || attname FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped";
    let rows = client.query(sql, &[]).await.unwrap();
    let found: std::collections::BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let is_moved = |name: &&String| {
        let table = name.split('.').next().unwrap();
        !tables::NOT_MOVED.contains(&table)
    };
    let found: Vec<_> = found.iter().filter(is_moved).cloned().collect();
    let mut moved: Vec<_> = TABLES
        .iter()
        .flat_map(|it| it.columns.iter().map(|(column, _)| format!("{}.{column}", it.name)))
        .collect();
    moved.sort();
    assert_eq!(moved, found);

    let sql = "SELECT it.name || '.' || of.name FROM sqlite_schema AS it, pragma_table_info(it.name) AS of
        WHERE it.type = 'table' AND it.name NOT LIKE 'sqlite_%'";
    // `turn` of a queue is that of its newest lane, `voids` counts those of a stream.
    let known =
        ["queues.turn", "down_streams.voids", "message_log_size.id", "message_log_size.bytes"];
    for column in texts(&file, sql) {
        assert!(moved.contains(&column) || known.contains(&&*column), "{column}");
    }
}

/// A file with an account, and a database.
async fn pair(server: &TestServer, folder: &Path) -> (PathBuf, String, String) {
    let file = folder.join("store");
    let store = SqliteStore::open(&file).unwrap();
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    drop(store);
    let database = server.database().await;
    let url = server.url(&database);
    (file, database, url)
}

#[tokio::test]
async fn only_an_empty_database_is_filled() {
    let server = server!();
    let folder = tempfile::tempdir().unwrap();
    let (file, _, url) = pair(&server, folder.path()).await;
    let error = async |url: &str| Moving::to(url, &file).await.err().unwrap();
    let foreign = server.database().await;
    server.run(&foreign, "CREATE TABLE theirs (x int)").await;
    assert!(matches!(error(&server.url(&foreign)).await, StoreError::Foreign { .. }));
    let used = server.database().await;
    let store = PostgresStore::open(&server.url(&used), PostgresOptions::default()).await.unwrap();
    assert!(matches!(error(&server.url(&used)).await, StoreError::Exists { .. }));
    use crate::nodes::{Admission, NewNode, NodeStore};
    let node = NewNode { id: 7, name: "one".to_owned() };
    store.begin_lease(&node, Admission::Alone).await.unwrap();
    assert!(matches!(error(&server.url(&used)).await, StoreError::InUse { .. }));
    server.run(&used, "UPDATE fedecks_schema SET version = 9000").await;
    assert!(matches!(error(&server.url(&used)).await, StoreError::Newer { .. }));
    assert!(matches!(error("postgres://x@127.0.0.1:1/x").await, StoreError::Failed { .. }));

    let serves = open(&file);
    assert!(matches!(error(&url).await, StoreError::InUse { .. }));
    assert!(Moving::is_served(&file));
    let plan = Moving::plan(&url, &file).await.unwrap().unwrap();
    assert_eq!(plan.iter().find(|it| it.rows == "accounts").unwrap().count, 1);
    drop(serves);
    assert!(!Moving::is_served(&file));
    // Nothing was changed.
    assert!(open(&file).password_hash("marvin").await.unwrap().is_some());
}

#[tokio::test]
async fn an_attempt_that_was_interrupted_is_repeated() {
    let server = server!();
    let folder = tempfile::tempdir().unwrap();
    let (file, database, url) = pair(&server, folder.path()).await;
    // Before anything, in the middle, and with a lost connection.
    drop(Moving::to(&url, &file).await.unwrap());
    let moving = Moving::to(&url, &file).await.unwrap();
    let mut batches = 0;
    {
        let run = moving.run(|_| batches += 1);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let other = server.connect(&database).await;
        let lose = async {
            // Its turn comes when the first statement waits for the database.
            other.batch_execute(end).await.unwrap();
        };
        let (ended, ()) = tokio::join!(run, lose);
        assert!(ended.is_err(), "{ended:?}");
    }
    assert!(matches!(PostgresStore::check(&url).await, Err(StoreError::Empty { .. })));
    let store = open(&file);
    store.add_account("arthur", "hash", &cli()).await.unwrap();
    drop(store);

    // Between the two commits.
    let moving = Moving::to(&url, &file).await.unwrap();
    moving.file.retire(moving.import.location()).unwrap();
    drop(moving);
    let is_retired = |file: &Path| {
        let opened = SqliteStore::open_existing(file, StoreOptions::default());
        matches!(opened.err(), Some(StoreError::Retired { database, .. }) if url.contains(&database))
    };
    assert!(is_retired(&file));
    let elsewhere = server.url(&server.database().await);
    let error = Moving::to(&elsewhere, &file).await.err().unwrap();
    assert!(matches!(error, StoreError::Retired { .. }), "{error}");
    let moved = Moving::to(&url, &file).await.unwrap().run(|_| ()).await.unwrap();
    assert!(matches!(moved, MovingOutcome::Moved(_)));
    // After both.
    let again = Moving::to(&url, &file).await.unwrap().run(|_| ()).await.unwrap();
    assert_eq!(again, MovingOutcome::WasMoved);
    assert_eq!(Moving::plan(&url, &file).await.unwrap(), None);
    let store = PostgresStore::open_existing(&url, PostgresOptions::default()).await.unwrap();
    assert_eq!(store.accounts().await.unwrap().len(), 2);

    assert!(is_retired(&file));
    assert!(SqliteStore::check_not_retired(&file).is_err());
    assert!(SqliteStore::back_up(&file, &folder.path().join("copy")).is_err());
    assert!(SqliteStore::undo_retirement(&file).unwrap().is_some());
    assert_eq!(SqliteStore::undo_retirement(&file).unwrap(), None);
    SqliteStore::check_not_retired(&file).unwrap();
    assert_eq!(open(&file).accounts().await.unwrap().len(), 2);
    let error = Moving::to(&url, &file).await.err().unwrap();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
}

#[tokio::test]
async fn a_commit_that_fails_leaves_the_file_in_use() {
    let server = server!();
    let folder = tempfile::tempdir().unwrap();
    let (file, _, url) = pair(&server, folder.path()).await;
    let moving = Moving::to(&url, &file).await.unwrap();
    moving.import.make_tables().await.unwrap();
    let fails = "ALTER TABLE claim_uses ADD CONSTRAINT it UNIQUE (claim) DEFERRABLE INITIALLY DEFERRED;
        INSERT INTO claim_uses (claim, device, at, returned) VALUES (1, 'a', 0, false), (1, 'b', 0, false)";
    moving.import.run(fails).await.unwrap();
    let error = moving.finish().await.unwrap_err();
    assert!(error.to_string().contains("23505"), "{error}");
    drop(moving);
    assert_eq!(open(&file).accounts().await.unwrap().len(), 1);
    assert!(matches!(PostgresStore::check(&url).await, Err(StoreError::Empty { .. })));
}

#[tokio::test]
async fn what_is_read_back_differently_is_noticed() {
    let server = server!();
    let folder = tempfile::tempdir().unwrap();
    let (file, _, url) = pair(&server, folder.path()).await;
    let moving = Moving::to(&url, &file).await.unwrap();
    moving.import.make_tables().await.unwrap();
    let table = TABLES.iter().find(|it| it.name == "accounts").unwrap();
    let rows = moving.read(table, async |_| Ok(())).await.unwrap();
    let add = "INSERT INTO accounts SELECT 'marvin', 'other', 0";
    moving.import.run(add).await.unwrap();
    let error = moving.compare(table, rows.digest()).await.unwrap_err().to_string();
    assert!(error.contains("accounts"), "{error}");
}
