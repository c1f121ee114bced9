//! The commands of `fedecks-cloud`.

mod account;
mod audit;
mod backup;
mod check_config;
mod device;
mod error;
#[cfg(test)]
mod generated;
mod logging;
mod output;
mod password;
mod place;
mod serve;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config;
use crate::error::ServerError;

use error::CliError;
use place::Place;

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

/// Does what the command line says.
pub fn run() -> ExitCode {
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

fn generate_secret() -> Result<(), CliError> {
    let random = || ServerError::io("get random numbers");
    let secret = config::generate().map_err(random())?;
    let salt = config::generate_salt().map_err(random())?;
    output::print(&format!("FEDECKS_SECRET={}\nFEDECKS_SALT={}\n", secret.expose(), salt.expose()))
}
