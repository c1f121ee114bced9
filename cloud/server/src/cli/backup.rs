//! `backup` and `restore`: copies of the store.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::place::Place;
use crate::config::Overrides;
use crate::store;

#[derive(Args)]
pub(super) struct Backup {
    /// The file to create; an existing one is not overwritten
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), CliError> {
        let config = self.place.load(Overrides::default())?;
        if !config.store.exists() {
            return Err(CliError::NoStore(config.store));
        }
        Ok(store::back_up(&config, &self.file)?)
    }
}

impl Restore {
    pub(super) fn run(self) -> Result<(), CliError> {
        let config = self.place.load(Overrides::default())?;
        // What cannot be looked at is reported when it is opened.
        if matches!(self.file.try_exists(), Ok(false)) {
            return Err(CliError::NoBackup(self.file));
        }
        Ok(store::restore(&self.file, &config)?)
    }
}
