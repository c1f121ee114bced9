//! The commands of `fedecks-cloud`, a file for each. They read the command line and print; what they do
//! is done elsewhere.

mod account;
mod audit;
mod backup;
mod check_config;
mod claim;
#[cfg(test)]
mod claim_tests;
mod clock;
mod device;
mod effective_settings;
mod error;
#[cfg(test)]
mod generated;
mod logging;
mod migrate;
mod node;
mod output;
mod password;
mod place;
mod registration;
mod serve;
mod store;
#[cfg(test)]
mod tests;
mod token;
mod webhook;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fedecks_common::log::FlushOnDrop;

use crate::config::{self, SALT_BYTES, SECRET_BYTES};
use crate::error::ServerError;

use error::{CliError, EXIT_STATUS};
use output::Output;

/// The server that Fedecks devices connect to.
///
/// To try it: `fedecks-cloud account add NAME`, then `fedecks-cloud serve`. Both keep their files in
/// ./fedecks-data.
#[derive(Parser)]
#[command(name = "fedecks-cloud", version, after_help = after_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What follows the help of the commands.
fn after_help() -> String {
    let statuses = EXIT_STATUS.map(|(code, meaning)| format!("  {code:<4} {meaning}\n"));
    format!("Exit status:\n{}\n{NOTES}", statuses.concat())
}

const NOTES: &str = "\
Run by root in a directory of another user, such as the server's own, every command acts as that user.

Every key of the configuration file, except those in [[previous_key]], [[listener]] and [[webhook]], can be set by an \
environment variable: FEDECKS_ and the key in capitals with '_' for the dot, such as FEDECKS_LISTEN, \
FEDECKS_LIMITS_CONNECTIONS, FEDECKS_SECRET or FEDECKS_SECRET_FILE.";

#[derive(Subcommand)]
enum Command {
    /// Check the configuration without starting the server
    ///
    /// Does what `serve` does at its start, as the user that the server runs as: reads all files, listens on all
    /// addresses for a moment, and follows each certificate to its authority. Prints the effective settings, and
    /// on standard error what is wrong.
    CheckConfig(check_config::Arguments),
    /// Run the server until SIGTERM or SIGINT
    Serve(serve::Arguments),
    /// Add, change, remove and list the accounts that may register devices
    #[command(subcommand)]
    Account(account::Command),
    /// Make, list, export and revoke the claims with which devices register themselves
    #[command(subcommand)]
    Claim(claim::Command),
    /// List, label, block, approve and forget devices, and revoke their tokens
    #[command(subcommand)]
    Device(device::Command),
    /// Add, list and revoke the tokens of clients of the HTTP API
    #[command(subcommand)]
    Token(token::Command),
    /// Show who did what
    #[command(subcommand)]
    Audit(audit::Command),
    /// List the events that receivers of webhooks rejected
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Create the store of a new installation
    #[command(subcommand)]
    Store(store::Command),
    /// List the servers that share a database
    #[command(subcommand)]
    Node(node::Command),
    /// Show the server's clock and its floor, and reset a wrong floor
    #[command(subcommand)]
    Clock(clock::Command),
    /// Copy the store to a new file, even while the server is running
    ///
    /// The copy is a consistent snapshot, checked, readable by its owner only, and complete or absent. It
    /// does not contain the secret that tokens are sealed with; keep that as well. A store in a PostgreSQL database is
    /// copied by pg_dump.
    Backup(backup::Backup),
    /// Restore the store from a backup
    ///
    /// The replaced store is kept with .replaced added to its name. A running server switches to the
    /// restored one within about a second. Whatever was blocked, revoked or added since the backup has
    /// to be done again. A store in a PostgreSQL database is restored by pg_restore.
    Restore(backup::Restore),
    /// Move the store from its file to a PostgreSQL database
    ///
    /// While no server runs on the file. Everything is copied in one transaction, read back and compared; then the file
    /// is retired: no server runs on it any more. Interrupted at any time it can be run again.
    Migrate(migrate::Migrate),
    /// Generate the secret that devices' tokens are sealed with
    #[command(subcommand)]
    Secret(Secret),
}

#[derive(Subcommand)]
enum Secret {
    /// Print a new random secret and salt as FEDECKS_SECRET=... and FEDECKS_SALT=...
    ///
    /// The lines can be used as an environment file, or with --toml in the configuration. Keep them secret: anyone who has them can seal
    /// tokens for every device. A server with new ones accepts its devices' existing tokens only if the
    /// previous secret and salt are under [[previous_key]] in its configuration.
    Generate {
        /// Print lines for the configuration file
        #[arg(long)]
        toml: bool,
    },
}

/// Runs the command that the command line names.
pub fn run() -> ExitCode {
    let _flush = FlushOnDrop;
    let mut stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    let mut output = Output { writer: &mut stdout, is_terminal };
    match execute(Cli::parse().command, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            error.exit_code().into()
        }
    }
}

fn execute(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    match command {
        Command::CheckConfig(arguments) => check_config::run(arguments, output),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Account(command) => account::run(command, output),
        Command::Claim(command) => claim::run(command, output),
        Command::Device(command) => device::run(command, output),
        Command::Token(command) => token::run(command, output),
        Command::Audit(command) => audit::run(command, output),
        Command::Webhook(command) => webhook::run(command, output),
        Command::Store(command) => store::run(command, output),
        Command::Node(command) => node::run(command, output),
        Command::Clock(command) => clock::run(command, output),
        Command::Backup(backup) => backup.run(output),
        Command::Restore(restore) => restore.run(output),
        Command::Migrate(migrate) => migrate.run(output),
        Command::Secret(Secret::Generate { toml }) => generate_secret(toml, output),
    }
}

fn generate_secret(toml: bool, output: &mut Output<'_>) -> Result<(), CliError> {
    let random = || ServerError::io("get random numbers");
    let secret = config::Secret::generate(SECRET_BYTES).map_err(random())?;
    let salt = config::Secret::generate(SALT_BYTES).map_err(random())?;
    let (secret, salt) = (secret.expose(), salt.expose());
    output.print(&match toml {
        true => format!("secret = \"{secret}\"\nsalt = \"{salt}\"\n"),
        false => format!("FEDECKS_SECRET={secret}\nFEDECKS_SALT={salt}\n"),
    })
}
