//! `backup` and `restore`: copies of the store.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::output::Output;
use super::place::Place;
use crate::config::Overrides;
use crate::store::{self, STANDARD_OUTPUT};

#[derive(Args)]
pub(super) struct Backup {
    /// The file to create, or - for standard output; an existing file is not overwritten
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
    pub(super) fn run(self, output: &mut Output<'_>) -> Result<(), CliError> {
        let to_standard_output = self.file.as_os_str() == STANDARD_OUTPUT;
        if to_standard_output && io::stdout().is_terminal() {
            return Err(CliError::TerminalOutput);
        }
        // The copy may be in a directory of root's.
        let config = if to_standard_output {
            self.place.load_as_owner()?
        } else {
            self.place.load(Overrides::default())?
        };
        let Some(store) = config.store.file() else {
            let (command, instead) = ("backup", "use PostgreSQL's own pg_dump");
            let example = format!("pg_dump --format=custom --file=FILE {}", config.store);
            return Err(CliError::IsDatabase { command, instead, example });
        };
        if !store.exists() {
            return Err(CliError::NoStore(store.to_owned()));
        }
        if to_standard_output {
            return Ok(store::back_up_to_standard_output(store)?);
        }
        store::back_up(store, &self.file)?;
        let (copy, store) = (self.file.display(), store.display());
        output.print(&format!("{copy}: backup of {store} created\n"))
    }
}

impl Restore {
    pub(super) fn run(self, output: &mut Output<'_>) -> Result<(), CliError> {
        let config = self.place.load(Overrides::default())?;
        let Some(store) = config.store.file() else {
            let (command, instead) = ("restore", "use PostgreSQL's own pg_restore");
            let example = format!(
                "pg_restore --clean --if-exists --single-transaction --dbname={} FILE",
                config.store
            );
            return Err(CliError::IsDatabase { command, instead, example });
        };
        let replaces = store.exists();
        // What cannot be looked at is reported when it is opened.
        if matches!(self.file.try_exists(), Ok(false)) {
            return Err(CliError::NoBackup(self.file));
        }
        store::restore(&self.file, &config, store)?;
        let (copy, store) = (self.file.display(), store.display());
        let kept = match replaces {
            true => format!("; the replaced store is {store}.replaced"),
            false => String::new(),
        };
        output.print(&format!("{store}: restored from {copy}{kept}\n"))
    }
}
