//! Tests of a store whose server or connections fail while it is open.

use std::time::{Duration, Instant};

use super::call::{ANSWER_GRACE, CALL_TIMEOUT};
use super::store::{PostgresOptions, PostgresStore};
use super::test_server::TestServer;
use crate::accounts::AccountStore;
use crate::conformance::support::{cli, device, until};
use crate::devices::DeviceStore;
use crate::epoch::Epoch;
use crate::error::StoreError;
use crate::stats::StoreMonitor;

/// No call takes longer, with something for a busy machine.
const BOUND: Duration = Duration::from_secs(CALL_TIMEOUT.as_secs() + ANSWER_GRACE.as_secs() + 3);

/// A store with an account, in a database of a server that it has alone.
struct Fixture {
    server: TestServer,
    database: String,
    store: PostgresStore,
}

impl Fixture {
    /// `None` if there is no PostgreSQL.
    async fn new(options: PostgresOptions) -> Option<Self> {
        let server = TestServer::new()?;
        let database = server.database().await;
        let store = PostgresStore::open(&server.url(&database), options).await.unwrap();
        store.add_account("marvin", "hash", &cli()).await.unwrap();
        Some(Self { server, database, store })
    }

    /// Asserts that a read and a change fail in time, with an error that says where and has these words.
    async fn is_broken(&self, words: &str) {
        let started = Instant::now();
        let (a, by) = (device("a"), cli());
        let read = self.store.password_hash("marvin").await.err();
        let change = self.store.revoke(&a, &by).await.err();
        for error in [read, change] {
            let text = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(words), "{words}: {text}");
            let location = format!("127.0.0.1:{}/{}", self.server.port, self.database);
            assert!(text.contains(&location), "{text}");
        }
        assert!(started.elapsed() < 2 * BOUND, "{:?}", started.elapsed());
        assert!(!self.store.stats().healthy);
        self.store.seen(&a, 0, 7, false);
        assert_eq!(self.store.stats().notes_dropped, 0);
    }

    /// Asserts that everything works, and that the kept notes are written.
    async fn works(&self) {
        let store = &self.store;
        assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));
        store.revoke(&device("another"), &cli()).await.unwrap();
        store.seen(&device("a"), 0, 7, false);
        until(async || (store.stats().waiting == 0).then_some(())).await;
        assert_eq!(store.device(&device("a")).await.unwrap().unwrap().last_seen, Some(7));
        assert!(store.stats().healthy);
    }
}

#[tokio::test]
async fn a_killed_or_stopped_server_can_come_back() {
    let Some(fixture) = Fixture::new(PostgresOptions::default()).await else { return };
    for signal in ["KILL", "INT"] {
        let epoch = fixture.store.epoch();
        fixture.server.stop(signal);
        // Processes of a killed server may answer for a moment.
        let fails = async || fixture.store.password_hash("marvin").await.err().map(drop);
        until(fails).await;
        fixture.is_broken("connect").await;
        fixture.server.start();
        fixture.works().await;
        assert!(fixture.store.epoch() > epoch, "{signal}: what was cached may be of another copy");
    }
}

#[tokio::test]
async fn lost_connections_are_replaced_within_a_call() {
    let Some(fixture) = Fixture::new(PostgresOptions::default()).await else { return };
    let admin = fixture.server.connect("postgres").await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'fedecks'";
    let epoch = fixture.store.epoch();
    for _ in 0..20 {
        admin.query(end, &[]).await.unwrap();
        let name = fixture.store.password_hash("marvin").await.unwrap();
        assert_eq!(name.as_deref(), Some("hash"));
        fixture.store.block(&device("b"), &cli()).await.unwrap();
        fixture.store.unblock(&device("b"), &cli()).await.unwrap();
    }
    assert_eq!(fixture.store.epoch(), epoch, "it is the same database");
}

#[tokio::test]
async fn a_row_that_another_session_locks_delays_one_call() {
    let Some(fixture) = Fixture::new(PostgresOptions::default()).await else { return };
    let store = &fixture.store;
    store.revoke(&device("locked"), &cli()).await.unwrap();
    let other = fixture.server.connect(&fixture.database).await;
    let lock = "BEGIN; SELECT 1 FROM devices WHERE id = 'locked' FOR UPDATE";
    other.batch_execute(lock).await.unwrap();
    let started = Instant::now();
    let (id, by) = (device("locked"), cli());
    let blocked = async {
        let error = store.block(&id, &by).await.err();
        assert!(matches!(error, Some(StoreError::Busy { .. })), "{error:?}");
        assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    };
    let others = async {
        assert!(store.password_hash("marvin").await.unwrap().is_some());
        store.block(&device("free"), &cli()).await.unwrap();
        assert!(started.elapsed() < CALL_TIMEOUT, "{:?}", started.elapsed());
    };
    tokio::join!(blocked, others);
    other.batch_execute("COMMIT").await.unwrap();
    assert!(store.block(&device("locked"), &cli()).await.unwrap().is_some());
    fixture.works().await;
}

#[tokio::test]
async fn a_database_that_became_read_only_is_named() {
    let Some(fixture) = Fixture::new(PostgresOptions::default()).await else { return };
    let database = &fixture.database;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'fedecks'";
    let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    fixture.server.run("postgres", &set).await;
    fixture.server.run("postgres", end).await;
    fixture.is_broken("connect").await;
    let reset = format!("ALTER DATABASE {database} RESET default_transaction_read_only");
    fixture.server.run("postgres", &reset).await;
    fixture.works().await;
}

#[tokio::test]
async fn what_cannot_be_opened_is_explained() {
    let Some(server) = TestServer::shared() else { return };
    let database = server.database().await;
    let admin = "CREATE ROLE locked LOGIN PASSWORD 'right'";
    server.run("postgres", admin).await;
    let port = server.port;
    let open = async |url: String| {
        let opened = PostgresStore::open_existing(&url, PostgresOptions::default()).await;
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (url, words) in [
        (format!("postgres://locked:wrong@127.0.0.1:{port}/{database}"), "password"),
        (format!("postgres://fedecks@127.0.0.1:{port}/nothing"), "does not exist"),
        ("postgres://fedecks@127.0.0.1:1/x".to_owned(), "refused"),
        (server.url(&database), "is empty"),
    ] {
        let text = open(url).await;
        assert!(text.contains(words) && !text.contains("wrong"), "{words}: {text}");
    }
    server.run(&database, "CREATE TABLE theirs (id int)").await;
    assert!(open(server.url(&database)).await.contains("another program's database"));
    server.run(&database, "DROP TABLE theirs").await;
    let url = server.url(&database);
    PostgresStore::open(&url, PostgresOptions::default()).await.unwrap().close().await;
    assert_eq!(open(url.clone()).await, "");
    server.run(&database, "UPDATE fedecks_schema SET version = 99").await;
    assert!(open(url).await.contains("has version 99"));
}
