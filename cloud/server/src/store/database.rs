//! The store in a PostgreSQL database: creates its tables and opens it.

use fedecks_store::{PostgresOptions, PostgresStore, StoreError};

use super::open::OpenStore;
use crate::config::{Config, Database};
use crate::error::ServerError;

/// Opens it for a server, which creates the tables only if it also generates its secrets, and writes only under a lease.
pub(super) async fn open_for_server(
    config: &Config,
    place: &Database,
) -> Result<OpenStore, ServerError> {
    if config.secrets.will_be_generated() && make_if_missing(place).await? {
        tracing::info!(store = %place, "made a new store, for new secrets");
    }
    let options = options(config).with(|it| it.needs_lease = true);
    open_with(options, place).await
}

/// Opens it for a command, also while a server uses it.
pub(super) async fn open(config: &Config, place: &Database) -> Result<OpenStore, ServerError> {
    open_with(options(config), place).await
}

fn options(config: &Config) -> PostgresOptions {
    PostgresOptions::default().with(|it| it.audit = config.store_options.audit)
}

async fn open_with(options: PostgresOptions, place: &Database) -> Result<OpenStore, ServerError> {
    let opened = PostgresStore::open_existing(place.url()?.expose(), options).await;
    opened.map(OpenStore::Database).map_err(explain)
}

/// What is known without the database: its password can be read.
pub(super) fn check_settings(place: &Database) -> Result<(), ServerError> {
    Ok(place.url().map(drop)?)
}

/// Fails as [`open`] would, and changes nothing.
pub(super) async fn check(place: &Database) -> Result<(), ServerError> {
    PostgresStore::check(place.url()?.expose()).await.map_err(explain)
}

/// Makes the tables if the database has none. Returns whether it did.
pub(super) async fn make_if_missing(place: &Database) -> Result<bool, ServerError> {
    let url = place.url()?;
    match PostgresStore::check(url.expose()).await {
        Ok(()) => Ok(false),
        Err(StoreError::Empty { .. }) => {
            PostgresStore::open(url.expose(), PostgresOptions::default()).await?.close().await;
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

fn explain(error: StoreError) -> ServerError {
    match error {
        StoreError::Empty { .. } => ServerError::EmptyDatabase(error),
        error => ServerError::Store(error),
    }
}
