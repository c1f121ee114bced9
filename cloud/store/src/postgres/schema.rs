//! The tables, and the migrations from older versions.

use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use tokio::time::timeout;

use super::call::CALL_TIMEOUT;
use super::failure::{Failure, text};
use crate::error::StoreError;

/// The migrations: the first turns an empty database into version 1, the next turns that into version 2, and so on. A
/// released migration is never changed, as it was applied to existing databases. Several servers may run on one
/// database while they are upgraded: the version before has to run on what a migration makes.
const MIGRATIONS: &[&[&str]] = &[
    &[
        include_str!("schema/access.sql"),
        include_str!("schema/queues.sql"),
        include_str!("schema/messages.sql"),
        include_str!("schema/down.sql"),
    ],
    &[include_str!("schema/nodes.sql")],
    &[include_str!("schema/draining.sql")],
    &[include_str!("schema/rebalancing.sql")],
];

/// The number that servers lock while they migrate: "fdks".
pub(super) const LOCK: i64 = 0x6664_6b73;

/// How long a migration may take, and wait for other servers.
const TIMES: &str = "SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '1min'";

/// When a migration is given up although the server has not ended it.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(12 * 60);

/// What to do with an empty database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfEmpty {
    /// Make it a store.
    Create,
    /// Reject it: a store is expected.
    Reject,
}

/// The content of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A store of this version; 0 if it is empty.
    Version(i64),
    /// Another program's tables.
    Foreign,
}

pub(super) fn latest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Prepares a database that was just opened: migrates an older version to the latest one, each step in its own
/// transaction.
pub(super) async fn prepare(
    pool: &Pool,
    location: &str,
    if_empty: IfEmpty,
) -> Result<(), StoreError> {
    let client = connect(pool, location).await?;
    let mut is_new = false;
    loop {
        let version = usable(&client, location, if_empty).await?;
        if version == latest() {
            return Ok(());
        }
        is_new |= version == 0;
        let migrated = timeout(MIGRATION_TIMEOUT, migrate(&client, version)).await;
        let migrated = migrated.map_err(|_| silent(location))?;
        let failed = |error| StoreError::failed(location, "open", text(&error));
        if migrated.map_err(failed)? && !is_new {
            let to = version + 1;
            tracing::info!(store = location, from = version, to, "migrated the store");
        }
    }
}

/// Fails as [`prepare`] would with what it finds, and changes nothing.
pub(super) async fn check(pool: &Pool, location: &str) -> Result<(), StoreError> {
    let client = connect(pool, location).await?;
    usable(&client, location, IfEmpty::Reject).await.map(drop)
}

fn silent(location: &str) -> StoreError {
    StoreError::failed(location, "open", "the server did not answer in time")
}

/// A connection to a database and a server that are as they must be.
pub(super) async fn connect(pool: &Pool, location: &str) -> Result<Client, StoreError> {
    let client = timeout(CALL_TIMEOUT, pool.get()).await.map_err(|_| silent(location))?;
    let client = client.map_err(|error| Failure::NoConnection(error).answer(location, "open"))?;
    let checked = timeout(CALL_TIMEOUT, check_server(&client, location)).await;
    checked.map_err(|_| silent(location))??;
    Ok(client)
}

/// The version of the tables in the database, up to the latest one.
async fn usable(client: &Client, location: &str, if_empty: IfEmpty) -> Result<i64, StoreError> {
    let found = timeout(CALL_TIMEOUT, inspect(client)).await.map_err(|_| silent(location))?;
    let location = location.to_owned();
    match found.map_err(|error| StoreError::failed(&location, "open", text(&error)))? {
        Found::Foreign => Err(StoreError::Foreign { location }),
        Found::Version(0) if if_empty == IfEmpty::Reject => Err(StoreError::Empty { location }),
        Found::Version(found) if found > latest() => {
            Err(StoreError::Newer { location, found, known: latest() })
        }
        Found::Version(version) => Ok(version),
    }
}

/// Checks what a database and its server must be like.
async fn check_server(client: &Client, location: &str) -> Result<(), StoreError> {
    let failed = |why: String| StoreError::failed(location, "open", why);
    let row = client
        .query_one(
            "SELECT current_setting('server_encoding'), current_setting('fsync'),
                 current_setting('server_version_num')::int, current_schema() IS NOT NULL",
            &[],
        )
        .await
        .map_err(|error| failed(text(&error)))?;
    let (encoding, fsync, version): (String, String, i32) = (row.get(0), row.get(1), row.get(2));
    if encoding != "UTF8" {
        return Err(failed(format!("the encoding of the database is {encoding}, not UTF8")));
    }
    if version < OLDEST {
        return Err(failed(format!("the server is older than PostgreSQL {}", OLDEST / 10_000)));
    }
    if !row.get::<_, bool>(3) {
        return Err(failed("no schema of its search_path exists".to_owned()));
    }
    if fsync == "off" {
        tracing::warn!(
            store = location,
            "the server of the store has fsync off: a power cut loses changes"
        );
    }
    Ok(())
}

/// The oldest version of the server.
const OLDEST: i32 = 130_000;

pub(super) async fn inspect(client: &Client) -> Result<Found, tokio_postgres::Error> {
    // One statement, as another server may make the tables at this moment. Looking up a name sees what was committed
    // after the statement began, too.
    let found = client
        .query_one(
            "SELECT count(*), count(*) FILTER (WHERE relname = 'fedecks_schema') FROM pg_class
             WHERE relnamespace = to_regnamespace(quote_ident(current_schema()))
                 AND relkind IN ('r', 'p', 'v', 'm', 'f')",
            &[],
        )
        .await?;
    let (tables, is_store): (i64, i64) = (found.try_get(0)?, found.try_get(1)?);
    if is_store > 0 {
        let version = client.query_one("SELECT version FROM fedecks_schema", &[]).await?;
        return Ok(Found::Version(version.try_get(0)?));
    }
    Ok(if tables == 0 { Found::Version(0) } else { Found::Foreign })
}

/// Migrates from `version` to the next. Returns false if another server has done it already.
async fn migrate(client: &Client, version: i64) -> Result<bool, tokio_postgres::Error> {
    let place = usize::try_from(version).unwrap_or(usize::MAX);
    let Some(migration) = MIGRATIONS.get(place) else { return Ok(false) };
    client.batch_execute(&format!("BEGIN; {TIMES}; SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let is_due = inspect(client).await? == Found::Version(version);
    if is_due {
        run(client, version, migration).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(is_due)
}

async fn run(client: &Client, version: i64, parts: &[&str]) -> Result<(), tokio_postgres::Error> {
    if version == 0 {
        let table = "CREATE TABLE fedecks_schema (version bigint NOT NULL);
            INSERT INTO fedecks_schema VALUES (0)";
        client.batch_execute(table).await?;
    }
    for part in parts {
        client.batch_execute(part).await?;
    }
    let noted = format!("UPDATE fedecks_schema SET version = {}", version + 1);
    client.batch_execute(&noted).await
}

/// Makes the tables of the latest version in an empty database, in the open transaction of a connection.
#[cfg(feature = "sqlite")]
pub(super) async fn make_tables(client: &Client) -> Result<(), tokio_postgres::Error> {
    for (version, parts) in (0..).zip(MIGRATIONS) {
        run(client, version, parts).await?;
    }
    Ok(())
}
