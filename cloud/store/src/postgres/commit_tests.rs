//! Tests of transactions that end in the middle: a connection is lost during COMMIT, or the work panics.

use std::sync::Arc;

use super::columns::get;
use super::lanes::Lane;
use super::store::{PostgresOptions, PostgresStore};
use super::test_relay::{Cut, TestRelay};
use super::test_server::{TestServer, url};
use super::tests::{new_store, server};
use crate::audit::{Actor, AuditAction, AuditEntry, AuditQuery, AuditStore};
use crate::boxed::StoreFuture;
use crate::conformance::support::{cli, device, until};
use crate::devices::DeviceStore;
use crate::error::StoreError;
use crate::stats::StoreMonitor;

/// A store in a new database, behind a relay.
struct Fixture {
    server: Arc<TestServer>,
    database: String,
    relay: TestRelay,
    store: PostgresStore,
}

impl Fixture {
    async fn new(server: Arc<TestServer>) -> Self {
        let database = server.database().await;
        let relay = TestRelay::start(server.port).await;
        let url = url(relay.port, &database);
        let store = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
        Self { server, database, relay, store }
    }

    /// The details of the lines of the audit log, oldest first.
    async fn lines(&self) -> Vec<String> {
        let lines = self.store.audit_page(&AuditQuery::default()).await.unwrap();
        lines.into_iter().rev().map(|line| line.detail.unwrap_or_default()).collect()
    }

    async fn batches_kept(&self) -> i64 {
        let client = self.server.connect(&self.database).await;
        client.query_one("SELECT count(*) FROM flushes", &[]).await.unwrap().get(0)
    }
}

fn line(detail: &str) -> AuditEntry {
    let (by, action) = (Actor::token("ci"), AuditAction::MessageSent);
    AuditEntry { at: 1, by, action, device: None, detail: Some(detail.to_owned()) }
}

#[tokio::test]
async fn a_change_without_an_answer_to_commit_is_busy() {
    let fixture = Fixture::new(server!()).await;
    let (relay, store) = (&fixture.relay, &fixture.store);
    for (id, cut, is_made) in [("a", Cut::BeforeCommit, false), ("b", Cut::AfterCommit, true)] {
        relay.lose_next(cut);
        let error = store.block(&device(id), &cli()).await.err();
        assert!(relay.has_lost() && matches!(error, Some(StoreError::Busy { .. })), "{error:?}");
        let record = store.device(&device(id)).await.unwrap();
        assert_eq!(record.is_some(), is_made, "{cut:?}");
        let again = store.block(&device(id), &cli()).await.unwrap();
        assert_eq!(again.is_none(), is_made, "{cut:?}: it works again");
    }
    assert_eq!(fixture.lines().await.len(), 2, "a line for each that was made");
}

#[tokio::test]
async fn notes_without_an_answer_to_commit_are_written_once() {
    let fixture = Fixture::new(server!()).await;
    let (relay, store) = (&fixture.relay, &fixture.store);
    let mut expected = Vec::new();
    for (round, cut) in [Cut::AfterCommit, Cut::BeforeCommit, Cut::AfterCommit].iter().enumerate() {
        relay.lose_next(*cut);
        store.audit_later(line(&format!("{round} first")));
        until(async || relay.has_lost().then_some(())).await;
        // While the one before may be unwritten.
        store.seen(&device("a"), 0, 100 + round as u64, false);
        store.audit_later(line(&format!("{round} second")));
        until(async || (store.stats().waiting == 0).then_some(())).await;
        expected.extend([format!("{round} first"), format!("{round} second")]);
        assert_eq!(fixture.lines().await, expected, "{cut:?}");
        let record = store.device(&device("a")).await.unwrap().unwrap();
        assert_eq!(record.last_seen, Some(100 + round as u64));
    }
}

#[tokio::test]
async fn numbers_of_batches_do_not_pile_up() {
    let fixture = Fixture::new(server!()).await;
    let add = "INSERT INTO flushes VALUES ('old', 7, 100), ('new', 7, extract(epoch FROM now()))";
    fixture.server.run(&fixture.database, add).await;
    for number in 0..3 {
        fixture.store.audit_later(line(&number.to_string()));
        until(async || (fixture.store.stats().waiting == 0).then_some(())).await;
    }
    assert_eq!(fixture.batches_kept().await, 2, "of this store, and of one that may be running");
    let Fixture { server, database, relay, store } = fixture;
    store.close().await;
    let url = url(relay.port, &database);
    let store = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    let fixture = Fixture { server, database, relay, store };
    assert_eq!(fixture.batches_kept().await, 1, "the store has deleted its own");
    assert_eq!(fixture.lines().await, ["0", "1", "2"]);
}

#[tokio::test]
async fn a_panic_leaves_no_open_transaction_in_the_pool() {
    let server = server!();
    let store = new_store(&server).await;
    store.revoke(&device("a"), &cli()).await.unwrap();
    let panicking: StoreFuture<'_, ()> = store.write(Lane::Change, (), |tx, ()| {
        Box::pin(async move {
            let sql = "UPDATE devices SET label = 'half' WHERE id = 'a'";
            tx.execute(sql, &[]).await.map(|_| panic!("this panic is part of a test"))
        })
    });
    let error = panicking.await.err();
    assert!(error.is_some_and(|error| error.to_string().contains("panicked")));
    // More calls than the pool has connections, so that each is used.
    for _ in 0..2 * PostgresOptions::default().connections {
        let is_outside = store.read(Lane::Read, (), |tx, ()| {
            Box::pin(async move {
                let sql = "SELECT pg_current_xact_id_if_assigned() IS NULL";
                let row = tx.query_one(sql, &[]).await?;
                get::<bool>(&row, 0)
            })
        });
        assert!(is_outside.await.unwrap(), "a transaction that has changed something is open");
    }
    assert!(store.set_label(&device("a"), Some("whole"), &cli()).await.unwrap());
}
