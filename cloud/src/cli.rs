//! The commands of `fedecks-cloud`.

mod account;
mod audit;
mod backup;
mod check_config;
mod device;
#[cfg(test)]
mod generated;
mod logging;
mod output;
mod password;
mod serve;
mod token;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fedecks_cloud::{
    BuildError, InvalidAccountName, InvalidLabel, InvalidTokenName, PasswordError, ServeError,
    SqliteStore, StoreError, TlsError,
};
use fedecks_protocol::{DeviceId, InvalidDeviceId};

use crate::config::{self, Config, ConfigError, Overrides};
use crate::server::WebhookError;

/// The server that Fedecks devices connect to.
///
/// To try it: `fedecks-cloud account add NAME`, then `fedecks-cloud serve`. Both keep what they need
/// in ./fedecks-data.
#[derive(Parser)]
#[command(name = "fedecks-cloud", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.

Every key of the configuration file but [[former]] and [[listener]] can be set by an environment variable: FEDECKS_ \
and the key in capitals with '_' for the dot, such as FEDECKS_LISTEN, FEDECKS_LIMITS_CONNECTIONS, \
FEDECKS_SECRET or FEDECKS_SECRET_FILE.";

#[derive(Subcommand)]
enum Command {
    /// Says whether `serve` would start with the configuration, and what holds; changes nothing
    CheckConfig {
        #[command(flatten)]
        place: Place,
    },
    /// Runs the server until it is told to stop by SIGTERM or SIGINT
    Serve(serve::Arguments),
    /// Adds, removes and lists the accounts that may register devices
    #[command(subcommand)]
    Account(account::Command),
    /// Lists, labels, blocks and forgets devices, and revokes their tokens
    #[command(subcommand)]
    Device(device::Command),
    /// Adds, lists and revokes the tokens that callers of the HTTP API prove themselves with
    #[command(subcommand)]
    Token(token::Command),
    /// Shows who changed what
    #[command(subcommand)]
    Audit(audit::Command),
    /// Copies the store to a new file, as it is at one moment, while the server runs
    ///
    /// The copy is checked, readable by its owner only, and there as a whole or not at all. It has no
    /// secret that tokens are sealed with; keep that as well.
    Backup(backup::Backup),
    /// Puts a copy made by `backup` in the place of the store
    ///
    /// The store that was there stays beside it, with .replaced added to its name. A running server
    /// goes on with the copy within about a second; with the server stopped it is the same. What was
    /// blocked, revoked or added since the copy was made has to be done again.
    Restore(backup::Restore),
    /// Makes the secret that the devices' tokens are sealed with
    #[command(subcommand)]
    Secret(Secret),
}

#[derive(Subcommand)]
enum Secret {
    /// Prints a new random secret and salt as FEDECKS_SECRET=... and FEDECKS_SALT=...
    ///
    /// The lines can go into an environment file as they are. Keep them secret: who has them can
    /// seal tokens for every device. A server that gets new ones accepts the tokens that its devices
    /// have only if the former secret and salt stand under [[former]] in its configuration.
    Generate,
}

/// Where the configuration and the state are.
#[derive(Args, Clone)]
struct Place {
    /// Configuration file (TOML)
    ///
    /// Without this and without --data-dir it is /etc/fedecks/cloud.toml, if that is there. Without any
    /// file the defaults hold, and a secret is made and kept in the data directory.
    #[arg(long, value_name = "FILE", env = "FEDECKS_CONFIG")]
    config: Option<PathBuf>,
    /// Directory for what the server keeps and makes itself [default: ./fedecks-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("configuration: {0}")]
    Build(#[from] BuildError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    AccountName(#[from] InvalidAccountName),
    #[error(transparent)]
    DeviceId(#[from] InvalidDeviceId),
    #[error(transparent)]
    Label(#[from] InvalidLabel),
    #[error(transparent)]
    TokenName(#[from] InvalidTokenName),
    #[error("there is no store at {}; do --config and --data-dir say the right place?", .0.display())]
    NoStore(PathBuf),
    #[error("there is no account {0:?}")]
    NoAccount(String),
    #[error("there is no device {0}")]
    NoDevice(DeviceId),
    #[error("the device {0} is blocked, and would not be if it were forgotten: unblock it first")]
    Blocked(DeviceId),
    #[error("there is no API token {0:?}")]
    NoToken(String),
    #[error("the two passwords differ")]
    PasswordsDiffer,
    #[error("ended by a signal")]
    Signal(u8),
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("stopped at once by a second signal, {0}: what was still connected is cut off")]
    StoppedAtOnce(&'static str),
    #[error("cannot {action}: {source}")]
    Io { action: String, source: io::Error },
}

/// Where the Debian package has the configuration file.
const INSTALLED_CONFIG: &str = "/etc/fedecks/cloud.toml";

/// EX_CONFIG of sysexits.h.
const WRONG_CONFIGURATION: u8 = 78;

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::CheckConfig { place } => check_config::run(place),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Account(command) => account::run(command),
        Command::Device(command) => device::run(command),
        Command::Token(command) => token::run(command),
        Command::Audit(command) => audit::run(command),
        Command::Backup(backup) => backup.run(),
        Command::Restore(restore) => restore.run(),
        Command::Secret(Secret::Generate) => generate_secret(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            error.exit_code()
        }
    }
}

impl CliError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        |source| Self::Io { action, source }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Build(_) | Self::Tls(_) | Self::Webhook(_) => {
                WRONG_CONFIGURATION.into()
            }
            Self::Signal(number) => (128_u8.saturating_add(*number)).into(),
            Self::Store(_)
            | Self::Serve(_)
            | Self::Password(_)
            | Self::AccountName(_)
            | Self::DeviceId(_)
            | Self::Label(_)
            | Self::TokenName(_)
            | Self::NoStore(_)
            | Self::NoAccount(_)
            | Self::NoDevice(_)
            | Self::Blocked(_)
            | Self::NoToken(_)
            | Self::PasswordsDiffer
            | Self::Certificate(_)
            | Self::StoppedAtOnce(_)
            | Self::Io { .. } => ExitCode::FAILURE,
        }
    }
}

impl Place {
    fn load(self, more: Overrides) -> Result<Config, ConfigError> {
        let installed = Path::new(INSTALLED_CONFIG);
        let file = match &self.config {
            Some(file) => Some(file.as_path()),
            None => (self.data_dir.is_none() && installed.exists()).then_some(installed),
        };
        let overrides = Overrides { data_dir: self.data_dir, ..more };
        Config::load(file, |name| std::env::var_os(name), overrides)
    }

    /// As [`Place::make_store`], but the store has to be there: a command that is told the wrong place
    /// shall not seem to work.
    fn open_store(self) -> Result<(SqliteStore, tokio::runtime::Runtime), CliError> {
        let store = self.clone().load(Overrides::default())?.store;
        if store.exists() { self.make_store() } else { Err(CliError::NoStore(store)) }
    }

    /// Opens the store for a command, and a runtime to use it in; makes one if there is none.
    fn make_store(self) -> Result<(SqliteStore, tokio::runtime::Runtime), CliError> {
        let config = self.load(Overrides::default())?;
        Ok((open_store(&config)?, runtime()?))
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("start the runtime"))
}

/// Opens the store, in a data directory that is made if need be.
pub(crate) fn open_store(config: &Config) -> Result<SqliteStore, CliError> {
    make_folder_of_store(config)?;
    Ok(SqliteStore::open_with(&config.store, config.store_options)?)
}

/// Makes the data directory, if that is where the store is. Another folder has to be there.
fn make_folder_of_store(config: &Config) -> Result<(), CliError> {
    if config.store.parent() == Some(&config.data_dir) {
        make_data_dir(config)?;
    }
    Ok(())
}

pub(crate) fn make_data_dir(config: &Config) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt;

    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .map_err(CliError::io(format!("make the data directory {}", config.data_dir.display())))
}

fn generate_secret() -> Result<(), CliError> {
    let random = || CliError::io("get random numbers");
    let secret = config::generate().map_err(random())?;
    let salt = config::generate_salt().map_err(random())?;
    output::print(&format!("FEDECKS_SECRET={}\nFEDECKS_SALT={}\n", secret.expose(), salt.expose()))
}
