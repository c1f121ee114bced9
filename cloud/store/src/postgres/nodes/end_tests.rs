//! Tests of how a lease ends that its process does not know of, or did not end.

use tokio::time::Instant;

use super::tests::{patiently, stopped_before_commit};
use crate::accounts::AccountStore;
use crate::conformance::support::{cli, device, until};
use crate::devices::DeviceStore;
use crate::error::StoreError;
use crate::nodes::{Admission, LeaseOutcome, NewNode, NodeLease, NodeState, NodeStore, Renewal};
use crate::postgres::call::CALL_TIMEOUT;
use crate::postgres::store::{PostgresOptions, PostgresStore};
use crate::postgres::test_server::TestServer;
use crate::postgres::tests::server;

async fn open(server: &TestServer, database: &str) -> PostgresStore {
    let options = PostgresOptions::default().with(|it| it.needs_lease = true);
    PostgresStore::open(&server.url(database), options).await.unwrap()
}

/// Begins the lease of a node that no other one keeps from it, as soon as the database is not busy.
async fn begin(store: &PostgresStore, node: &NewNode) -> NodeLease {
    match patiently(|| store.begin_lease(node, Admission::Alone)).await {
        LeaseOutcome::Begun { lease, .. } => lease,
        held @ LeaseOutcome::Held(_) => panic!("{held:?}"),
    }
}

fn node() -> NewNode {
    NewNode { id: 7, name: "node".to_owned() }
}

#[tokio::test]
async fn closing_ends_a_lease_that_no_one_waited_for() {
    let server = server!();
    let database = server.database().await;
    let store = open(&server, &database).await;
    let lock = server.connect(&database).await;
    lock.batch_execute("BEGIN; LOCK TABLE nodes IN EXCLUSIVE MODE").await.unwrap();
    let node = node();
    {
        let begins = store.begin_lease(&node, Admission::Alone);
        let waits = until(async || {
            let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted
                AND relation = 'nodes'::regclass";
            let row = lock.query_one(sql, &[]).await.unwrap();
            (row.get::<_, i64>(0) > 0).then_some(())
        });
        tokio::select! {
            begun = begins => panic!("{begun:?}"),
            () = waits => {}
        }
    }
    lock.batch_execute("COMMIT").await.unwrap();
    // As if the database had begun the lease nevertheless.
    let other = open(&server, &database).await;
    begin(&other, &node).await;
    store.close().await;
    let nodes = until(async || other.nodes().await.ok()).await;
    assert_eq!(nodes.iter().map(|it| it.state).collect::<Vec<_>>(), [NodeState::Ended]);
}

#[tokio::test]
async fn closing_does_not_wait_for_a_lease_that_will_not_come() {
    let server = server!();
    let store = open(&server, &server.database().await).await;
    store.seen(&device("a"), 0, 7, false);
    let began = Instant::now();
    store.close().await;
    assert!(began.elapsed() < CALL_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_successor_takes_over_at_once_and_locks_out() {
    let server = server!();
    let database = server.database().await;
    let [before, store] = [open(&server, &database).await, open(&server, &database).await];
    let first = begin(&before, &node()).await;
    let stopped = stopped_before_commit(&server, &database, first).await;

    let second = begin(&store, &node()).await;
    assert!(second.epoch > first.epoch);
    assert!(stopped.batch_execute("COMMIT").await.is_err(), "the database has aborted it");
    assert_eq!(store.password_hash("marvin").await.unwrap(), None);
    // What of it runs still can neither write, nor renew, nor end the lease of its successor.
    let refused = before.add_account("arthur", "hash", &cli()).await;
    assert!(matches!(refused, Err(StoreError::NoLease { .. })), "{refused:?}");
    let renewed = patiently(|| before.renew_lease(&first)).await;
    assert_eq!(renewed, Renewal::Lost);
    let ended = patiently(|| before.end_lease(&first)).await;
    assert!(!ended);
    let renewed = until(async || store.renew_lease(&second).await.ok()).await;
    assert!(matches!(renewed, Renewal::Renewed { .. }));
}
