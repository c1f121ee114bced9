//! `backup` and `restore`: copies of the store.

use std::path::PathBuf;

use clap::Args;
use fedecks_store::SqliteStore;

use super::error::CliError;
use super::place::Place;
use crate::config::Overrides;
use crate::store::make_folder_of_store;

#[derive(Args)]
pub(super) struct Backup {
    /// The file to make; one that exists is not overwritten
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct Restore {
    /// The copy to take
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), CliError> {
        let store = self.place.load(Overrides::default())?.store;
        if !store.exists() {
            return Err(CliError::NoStore(store));
        }
        Ok(SqliteStore::back_up(&store, &self.file)?)
    }
}

impl Restore {
    pub(super) fn run(self) -> Result<(), CliError> {
        let config = self.place.load(Overrides::default())?;
        make_folder_of_store(&config)?;
        Ok(SqliteStore::restore(&self.file, &config.store)?)
    }
}
