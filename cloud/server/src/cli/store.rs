//! `store`: the file or the database with everything that the server has to remember.

use clap::Subcommand;

use super::error::CliError;
use super::output::Output;
use super::place::{Place, start_runtime};
use crate::store;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create an empty store: a file, or the tables in a database
    ///
    /// Needed once, before the first start of a server with a configured secret. Fails if there is a store.
    /// Never for a store that is only missing, because its volume is not mounted for example: an empty one
    /// lets in every device that is revoked or blocked.
    Init(Place),
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    let Command::Init(place) = command;
    let config = place.load_as_owner()?;
    store::create_store(&config, &start_runtime()?)?;
    output.print(&format!("{}: empty store created\n", config.store))
}
