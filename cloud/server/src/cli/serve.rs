//! `serve`: runs the server.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::logging;
use super::place::Place;
use crate::config::{Overrides, parse_address, warning_of_environment};
use crate::error::ServerError;
use crate::owner::act_as_owner_of;
use crate::running;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Address to listen on, instead of the configured ones; port 0 picks a free one
    ///
    /// Can be given several times. Without any configuration it is 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    listen: Vec<SocketAddr>,
    /// Serve TLS with a generated certificate for localhost, for tests
    ///
    /// The certificate of its authority is self-signed/ca.pem in the data directory: a device's
    /// `ca_file`.
    #[arg(long)]
    self_signed: bool,
    /// File to write the listening addresses to, one per line, when devices can connect
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let Arguments { place, listen, self_signed, ready_file } = arguments;
    let config = place.load(Overrides { listen, self_signed, data_dir: None })?;
    // Before the log has its thread.
    let owner = act_as_owner_of(&config.own_files())?;
    logging::start(&config.log).map_err(ServerError::io("start the log"))?;
    if let Some(owner) = owner {
        let (user, place) = (owner.uid.as_raw(), owner.place.display());
        tracing::warn!(user, %place, "started as root, running as the owner of its directory");
    }
    if let Some(problem) = warning_of_environment(std::env::vars_os().map(|(name, _)| name)) {
        tracing::warn!(problem, "the configuration is not complete");
    }
    Ok(running::run(config, ready_file.as_deref())?)
}
