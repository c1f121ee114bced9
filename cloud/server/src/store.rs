//! The program's store, which it opens, backs up and restores, and the folder that it is in.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use fedecks_store::{SqliteStore, Store};

use crate::config::Config;
use crate::error::ServerError;

/// Opens the store, in a data directory that is made if need be.
pub(crate) fn open_store(config: &Config) -> Result<impl Store + use<>, ServerError> {
    make_folder_of_store(config)?;
    Ok(SqliteStore::open_with(&config.store, config.store_options)?)
}

/// Copies the store to a new file.
pub(crate) fn back_up(config: &Config, copy: &Path) -> Result<(), ServerError> {
    Ok(SqliteStore::back_up(&config.store, copy)?)
}

/// Puts a copy where the store is, in a data directory that is made if need be.
pub(crate) fn restore(copy: &Path, config: &Config) -> Result<(), ServerError> {
    make_folder_of_store(config)?;
    Ok(SqliteStore::restore(copy, &config.store)?)
}

/// Makes the data directory, if that is where the store is. Another folder has to be there.
fn make_folder_of_store(config: &Config) -> Result<(), ServerError> {
    if config.store.parent() == Some(&config.data_dir) {
        make_data_dir(config)?;
    }
    Ok(())
}

pub(crate) fn make_data_dir(config: &Config) -> Result<(), ServerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .map_err(ServerError::io(format!("make the data directory {}", config.data_dir.display())))
}
