//! Tests of [`PostgresStore`] with a real server.

use std::sync::Arc;

use super::store::{PostgresOptions, PostgresStore};
use super::test_server::TestServer;
use crate::conformance;
use crate::conformance::support::until;

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

/// The server that tests share. They end if there is none.
macro_rules! server {
    () => {
        match TestServer::shared() {
            Some(server) => server,
            None => return,
        }
    };
}

pub(super) use server;

#[tokio::test]
async fn a_store_conforms() {
    let server: Arc<TestServer> = server!();
    conformance::check(async || new_store(&server).await).await;
}
