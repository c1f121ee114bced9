//! The server's store, in a file or in a database: opened for a server or for a command, created, and checked.

#[cfg(feature = "postgres")]
mod database;
#[cfg(not(feature = "postgres"))]
#[path = "no_database.rs"]
mod database;
mod directory;
mod file;
mod open;
mod served;

use std::sync::Arc;

use fedecks_store::StoreError;
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;

use crate::config::{Config, StorePlace};
use crate::error::ServerError;

pub(crate) use directory::create_data_dir;
pub(crate) use file::{STANDARD_OUTPUT, back_up, back_up_to_standard_output, restore};
pub(crate) use open::OpenStore;
pub(crate) use served::{Closing, ServedStore};

/// Opens the store of a server that starts. Only a server that also generates its secrets creates the store: others
/// have devices, and an empty store would let in those that are revoked or blocked.
pub(crate) async fn open_for_server(config: &Arc<Config>) -> Result<ServedStore, ServerError> {
    let opened = match &config.store {
        StorePlace::File(store) => {
            let (config, store) = (config.clone(), store.clone());
            // It may wait for another server to end.
            let opened = spawn_blocking(move || file::open_for_server(&config, &store)).await;
            opened.map_err(|error| ServerError::io("open the store")(error.into()))??
        }
        StorePlace::Database(place) => database::open_for_server(config, place).await?,
    };
    Ok(ServedStore::new(opened))
}

/// Fails as [`open_for_server`] would without a store. A database is not asked.
pub(crate) fn check(config: &Config) -> Result<(), ServerError> {
    match &config.store {
        StorePlace::File(store) => file::check(config, store),
        StorePlace::Database(place) => database::check_settings(place),
    }
}

/// Whether this user may write the store and the data directory; `serve` finds out by writing. A database must be as
/// `serve` needs it. Returns whether there is a store already.
pub(crate) fn check_access(config: &Config, runtime: &Runtime) -> Result<bool, ServerError> {
    match &config.store {
        StorePlace::File(store) => {
            file::check_access(config, store)?;
            Ok(store.exists())
        }
        StorePlace::Database(place) => {
            file::check_can_be_made(&config.data_dir)?;
            match runtime.block_on(database::check(place)) {
                Err(ServerError::EmptyDatabase(_)) if config.secrets.will_be_generated() => {
                    Ok(false)
                }
                checked => checked.map(|()| true),
            }
        }
    }
}

/// Opens the store for a command, also while a server uses it.
pub(crate) fn open_store(config: &Config, runtime: &Runtime) -> Result<OpenStore, ServerError> {
    match &config.store {
        StorePlace::File(store) => file::open(config, store),
        StorePlace::Database(place) => runtime.block_on(database::open(config, place)),
    }
}

/// The same, or `None` if there is no store.
pub(crate) fn open_if_there(
    config: &Config,
    runtime: &Runtime,
) -> Result<Option<OpenStore>, ServerError> {
    if config.store.file().is_some_and(|store| !store.exists()) {
        return Ok(None);
    }
    match open_store(config, runtime) {
        Err(ServerError::EmptyDatabase(_)) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Creates an empty store. Fails if there is one.
pub(crate) fn create_store(config: &Config, runtime: &Runtime) -> Result<(), ServerError> {
    match &config.store {
        StorePlace::File(store) => file::create(config, store),
        StorePlace::Database(place) => {
            if runtime.block_on(database::make_if_missing(place))? {
                return Ok(());
            }
            Err(StoreError::Exists { what: "store", name: place.to_string() }.into())
        }
    }
}

/// Creates an empty store if there is none. Returns whether it did.
pub(crate) fn make_if_missing(config: &Config, runtime: &Runtime) -> Result<bool, ServerError> {
    match &config.store {
        StorePlace::File(store) => file::make_if_missing(config, store),
        StorePlace::Database(place) => runtime.block_on(database::make_if_missing(place)),
    }
}
