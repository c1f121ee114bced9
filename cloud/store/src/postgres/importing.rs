//! An empty database that gets the content of a file, in one transaction: until it is committed, the database is empty.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::Client;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CopyInSink, Error};

use super::connection;
use super::failure::text;
use super::location::Location;
use super::nodes;
use super::schema;
use crate::error::StoreError;

/// An open transaction in a database.
pub(crate) struct Import {
    client: Client,
    location: Location,
}

/// What is in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Empty,
    /// A store.
    Store {
        /// The id of its installation.
        installation: Vec<u8>,
        /// The name of a server that serves on it.
        server: Option<String>,
    },
}

/// Why a transaction was not committed, or may not have been.
pub(crate) enum NotCommitted {
    /// It was not.
    RolledBack(StoreError),
    /// The connection was lost before the answer.
    Unknown(StoreError),
}

/// How long a statement may take: also one that sorts a big table.
const STATEMENT_TIME: Duration = Duration::from_secs(60 * 60);

/// How long the database may wait for the next statement, while the file is read, before it rolls back. A connection
/// whose other end is gone ends sooner.
const SETTINGS: &str = "SET statement_timeout = 0;
    SET idle_in_transaction_session_timeout = '10min';
    SET lock_timeout = '1min'";

/// Not everywhere these can be set, as over a Unix socket.
const KEEPALIVES: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3";

impl Import {
    /// Begins a transaction. With `alone` no one else makes or migrates tables until its end.
    pub(crate) async fn begin(url: &str, alone: bool) -> Result<Self, StoreError> {
        let location = Location::parse(url)?;
        let pool = connection::pool(&location, 1, None)?;
        let client = schema::connect(&pool, &location.shown).await?;
        let import = Self { client, location };
        import.run(SETTINGS).await?;
        import.run(KEEPALIVES).await?;
        import.run("BEGIN").await?;
        if alone {
            let locked =
                import.run(&format!("SELECT pg_advisory_xact_lock({})", schema::LOCK)).await;
            locked.map_err(|error| match error {
                StoreError::Busy { location } => {
                    let problem = "another program is making or filling its tables at the moment";
                    StoreError::failed(&location, "fill", problem)
                }
                error => error,
            })?;
        }
        Ok(import)
    }

    /// Which database it is, without a password.
    pub(crate) fn location(&self) -> &str {
        &self.location.shown
    }

    /// What is in the database. Fails with other programs' tables, and with a store of a newer version.
    pub(crate) async fn inspect(&self) -> Result<Found, StoreError> {
        let location = self.location().to_owned();
        match self.bounded(schema::inspect(&self.client)).await? {
            schema::Found::Foreign => Err(StoreError::Foreign { location }),
            schema::Found::Version(0) => Ok(Found::Empty),
            schema::Found::Version(found) if found > schema::latest() => {
                Err(StoreError::Newer { location, found, known: schema::latest() })
            }
            schema::Found::Version(_) => {
                let id = self.client.query_one("SELECT id FROM installation", &[]);
                let installation = self.bounded(id).await?.get(0);
                let server = nodes::SERVER_IF_ANY;
                let has_nodes = self.bounded(self.client.query_one(nodes::HAS_NODES, &[])).await?;
                let server = match has_nodes.get(0) {
                    true => self.bounded(self.client.query_opt(server, &[])).await?,
                    false => None,
                };
                Ok(Found::Store { installation, server: server.map(|row| row.get(0)) })
            }
        }
    }

    /// Makes the tables.
    pub(crate) async fn make_tables(&self) -> Result<(), StoreError> {
        self.bounded(schema::make_tables(&self.client)).await
    }

    /// Runs statements without results.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.bounded(self.client.batch_execute(sql)).await
    }

    /// A number that a query returns.
    pub(crate) async fn number(&self, sql: &str) -> Result<i64, StoreError> {
        let row = self.bounded(self.client.query_one(sql, &[])).await?;
        row.try_get(0).map_err(|error| self.failed(&error))
    }

    /// Adds rows by a `COPY ... FROM STDIN`, and returns how many.
    pub(crate) async fn copy_in(&self, sql: &str, rows: Bytes) -> Result<u64, StoreError> {
        self.bounded(async {
            let statement = self.client.prepare_cached(sql).await?;
            let mut sink: std::pin::Pin<&mut CopyInSink<Bytes>> =
                pin!(self.client.copy_in(&statement).await?);
            sink.send(rows).await?;
            sink.finish().await
        })
        .await
    }

    /// Reads rows by a `COPY ... TO STDOUT`, in pieces.
    pub(crate) async fn copy_out(
        &self,
        sql: &str,
        mut piece: impl FnMut(&[u8]),
    ) -> Result<(), StoreError> {
        let mut stream = pin!(self.bounded(self.client.copy_out(sql)).await?);
        while let Some(read) = self.bounded(async { stream.next().await.transpose() }).await? {
            piece(&read);
        }
        Ok(())
    }

    /// Ends the transaction.
    pub(crate) async fn commit(&self) -> Result<(), NotCommitted> {
        match timeout(STATEMENT_TIME, self.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.as_db_error().is_some_and(|it| !is_cut_short(it.code())) => {
                Err(NotCommitted::RolledBack(self.failed(&error)))
            }
            Ok(Err(error)) => Err(NotCommitted::Unknown(self.failed(&error))),
            Err(_) => Err(NotCommitted::Unknown(self.silent())),
        }
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        match timeout(STATEMENT_TIME, work).await {
            Ok(Err(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Err(StoreError::Busy { location: self.location().to_owned() })
            }
            Ok(done) => done.map_err(|error| self.failed(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> StoreError {
        StoreError::failed(self.location(), "fill", "the server did not answer in time")
    }

    fn failed(&self, error: &Error) -> StoreError {
        StoreError::failed(self.location(), "fill", text(error))
    }
}

/// The server was shut down, and may have committed before.
fn is_cut_short(code: &SqlState) -> bool {
    *code == SqlState::ADMIN_SHUTDOWN || *code == SqlState::CRASH_SHUTDOWN
}
