//! Tests of [`PostgresStore`] with a real server.

use std::sync::Arc;

use super::store::{PostgresOptions, PostgresStore};
use super::test_server::TestServer;
use crate::conformance;

/// A store in a new database of the server.
pub(super) async fn new_store(server: &TestServer) -> PostgresStore {
    let database = server.database().await;
    PostgresStore::open(&server.url(&database), PostgresOptions::default()).await.unwrap()
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

#[tokio::test]
async fn a_store_conforms() {
    let server: Arc<TestServer> = server!();
    conformance::check(async || new_store(&server).await).await;
}
