//! Which database a connection leads to: another one, or an older copy, may take its place while the store is open.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_postgres::{Client, Error};

/// What is different after a restart of the server, as after a restore of its files or a promotion of another one, and
/// after the database or its tables were created again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    started: String,
    database: u32,
    tables: Option<u32>,
}

/// The identity of the database that was seen last, and how often it has changed.
#[derive(Debug, Default)]
pub(super) struct Identities {
    last: Mutex<Option<Identity>>,
    changes: AtomicU64,
}

const QUERY: &str = "SELECT pg_postmaster_start_time()::text,
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    to_regclass('fedecks_schema')::oid";

impl Identities {
    /// Notes to which database this connection leads. Asked before anything else is read by a new connection, so that
    /// nothing is read from another database before the number of changes says so.
    pub(super) async fn check(&self, client: &Client) -> Result<(), Error> {
        let row = client.query_one(QUERY, &[]).await?;
        let (started, database, tables) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let found = Identity { started, database, tables };
        let mut last = self.last.lock();
        if last.as_ref().is_some_and(|last| *last != found) {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        *last = Some(found);
        Ok(())
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}
