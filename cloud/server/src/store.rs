//! The server's store: opens, backs up and restores it, and creates the directory that it is in.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use fedecks_store::{SqliteStore, Store};

use crate::config::Config;
use crate::error::ServerError;

/// Opens the store, or creates it.
pub(crate) fn open_store(config: &Config) -> Result<impl Store + use<>, ServerError> {
    create_store_dir(config)?;
    Ok(SqliteStore::open_with(&config.store, config.store_options)?)
}

/// Copies the store to a new file.
pub(crate) fn back_up(config: &Config, copy: &Path) -> Result<(), ServerError> {
    Ok(SqliteStore::back_up(&config.store, copy)?)
}

/// Replaces the store with a copy.
pub(crate) fn restore(copy: &Path, config: &Config) -> Result<(), ServerError> {
    create_store_dir(config)?;
    Ok(SqliteStore::restore(copy, &config.store)?)
}

/// Creates the data directory if the store is in it. Any other directory has to exist.
fn create_store_dir(config: &Config) -> Result<(), ServerError> {
    if config.store.parent() == Some(&config.data_dir) {
        create_data_dir(config)?;
    }
    Ok(())
}

pub(crate) fn create_data_dir(config: &Config) -> Result<(), ServerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir).map_err(ServerError::io(
        format!("create the data directory {}", config.data_dir.display()),
    ))
}
