//! Where a command finds the configuration and the store.

use std::path::{Path, PathBuf};

use clap::Args;
use tokio::runtime::{Builder, Runtime};

use super::error::CliError;
use super::output::print_notice;
use crate::config::{Config, ConfigError, Overrides};
use crate::error::ServerError;
use crate::owner::act_as_owner_of;
use crate::store::{OpenStore, make_if_missing, open_store};

#[derive(Args, Clone)]
pub(super) struct Place {
    /// Configuration file (TOML)
    ///
    /// Without this and without --data-dir, /etc/fedecks/cloud.toml is read if it exists. Without any
    /// file the defaults apply, and a secret is generated and kept in the data directory.
    #[arg(long, value_name = "FILE", env = "FEDECKS_CONFIG")]
    config: Option<PathBuf>,
    /// Directory for the server's own files [default: ./fedecks-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Where the Debian package installs the configuration file.
const INSTALLED_CONFIG: &str = "/etc/fedecks/cloud.toml";

impl Place {
    /// The configuration file, if there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        let installed = Path::new(INSTALLED_CONFIG);
        match &self.config {
            Some(file) => Some(file.as_path()),
            None => (self.data_dir.is_none() && installed.exists()).then_some(installed),
        }
    }

    /// It is the one that the package's unit reads.
    pub(super) fn is_installed(&self) -> bool {
        self.file() == Some(Path::new(INSTALLED_CONFIG))
    }

    pub(super) fn load(self, more: Overrides) -> Result<Config, ConfigError> {
        let file = self.file().map(Path::to_owned);
        let overrides = Overrides { data_dir: self.data_dir, ..more };
        Config::load(file.as_deref(), |name| std::env::var_os(name), overrides)
    }

    /// Also becomes the owner of the store's directory, or of the data directory with a database, if root runs the command. The configuration may be
    /// readable by root only.
    pub(super) fn load_as_owner(self) -> Result<Config, CliError> {
        let config = self.load(Overrides::default())?;
        act_as_owner_of(&[config.store.file().unwrap_or(&config.data_dir)])?;
        Ok(config)
    }

    /// Like [`create_store`], but requires an existing store: a command with a wrong --data-dir
    /// must not appear to work.
    pub(super) fn open_store(self) -> Result<(OpenStore, Runtime), CliError> {
        let (_, store, runtime) = self.open_store_and_config()?;
        Ok((store, runtime))
    }

    /// [`Place::open_store`], and the configuration that names the store.
    pub(super) fn open_store_and_config(self) -> Result<(Config, OpenStore, Runtime), CliError> {
        let config = self.load_as_owner()?;
        // What cannot be looked at is reported by opening it.
        if let Some(file) = config.store.file() {
            if matches!(file.try_exists(), Ok(false)) {
                return Err(CliError::NoStore(file.to_owned()));
            }
        }
        let runtime = start_runtime()?;
        let store = open_store(&config, &runtime)?;
        Ok((config, store, runtime))
    }
}

/// Opens the store of a configuration that was loaded by [`Place::load_as_owner`], and a runtime to use it in.
/// Creates a store that is missing, and says so: it may also be one that is not mounted.
pub(super) fn create_store(config: &Config) -> Result<(OpenStore, Runtime), CliError> {
    let runtime = start_runtime()?;
    if make_if_missing(config, &runtime)? {
        let store = &config.store;
        print_notice(&format!("created an empty store, as there was none: {store}"));
    }
    Ok((open_store(config, &runtime)?, runtime))
}

pub(super) fn start_runtime() -> Result<Runtime, ServerError> {
    Builder::new_current_thread().enable_all().build().map_err(ServerError::io("start the runtime"))
}
