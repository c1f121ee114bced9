//! Tests of [`PostgresStore`] with a real server.

use std::sync::Arc;
use std::time::Duration;

use super::lease_gate::boot_time;
use super::store::{PostgresOptions, PostgresStore};
use super::test_server::TestServer;
use crate::conformance;
use crate::conformance::support::until;
use crate::nodes::{Admission, LeaseOutcome, NewNode, NodeStore};

/// A store in a new database of the server.
pub(super) async fn new_store(server: &TestServer) -> PostgresStore {
    open(server, &server.database().await).await
}

/// A store in this database of the server.
pub(super) async fn open(server: &TestServer, database: &str) -> PostgresStore {
    PostgresStore::open(&server.url(database), PostgresOptions::default()).await.unwrap()
}

/// Two stores in one new database, as of two servers, and its name.
pub(super) async fn two_stores(server: &TestServer) -> (String, [Arc<PostgresStore>; 2]) {
    let database = server.database().await;
    let stores = [open(server, &database).await, open(server, &database).await].map(Arc::new);
    (database, stores)
}

/// No transaction of these stores had to be rolled back for another one.
pub(super) async fn check_no_deadlock(
    server: &TestServer,
    database: &str,
    stores: [Arc<PostgresStore>; 2],
) {
    for store in stores {
        Arc::into_inner(store).unwrap().close().await;
    }
    // Each connection has reported to the statistics when it has ended.
    let client = server.connect("postgres").await;
    let sql = "SELECT deadlocks, numbackends FROM pg_stat_database WHERE datname = $1";
    until(async || {
        let row = client.query_one(sql, &[&database]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
        (row.get::<_, i32>(1) == 0).then_some(())
    })
    .await;
}

pub(super) use super::test_server::server;

#[tokio::test]
async fn a_store_conforms() {
    let server: Arc<TestServer> = server!();
    conformance::check(async || new_store(&server).await).await;
}

#[tokio::test]
async fn a_store_with_a_lease_conforms() {
    let server: Arc<TestServer> = server!();
    conformance::check(async || new_store_with_lease(&server).await).await;
}

/// A store in a new database, and its lease, of which its gate knows that it lasts.
async fn new_store_with_lease(server: &TestServer) -> PostgresStore {
    let url = server.url(&server.database().await);
    let options = PostgresOptions::default().with(|it| it.needs_lease = true);
    let store = PostgresStore::open(&url, options).await.unwrap();
    let node = NewNode { id: 7, name: "one".to_owned() };
    let begun = store.begin_lease(&node, Admission::Alone).await.unwrap();
    let LeaseOutcome::Begun { lease, .. } = begun else { panic!("{begun:?}") };
    store.lease_gate().unwrap().open(lease, boot_time() + Duration::from_secs(600));
    store
}
