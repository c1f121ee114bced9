//! `node`: the servers that share a database.

use clap::Subcommand;
use fedecks_common::utc;
use fedecks_store::{NodeRecord, NodeState};
use serde_json::json;

use super::error::CliError;
use super::output::{Format, Output, Row};
use super::place::Place;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the servers of a database (name, state, since, last renewal, id), separated by tabs
    ///
    /// The one that serves has the lease of the database, the others wait for it. Servers that have ended are listed for
    /// a day.
    List {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    let Command::List { format, place } = command;
    let (store, runtime) = place.open_store()?;
    let Some(nodes) = store.nodes() else { return Err(CliError::IsFile("node list")) };
    let nodes = runtime.block_on(nodes.nodes())?;
    output.print_header(format, "NAME\tSTATE\tSINCE\tRENEWED\tID")?;
    output.print_rows(format, nodes.iter().map(row))
}

fn row(node: &NodeRecord) -> Row {
    let NodeRecord { id, name, epoch, state, since, renewed_ago } = node;
    let (id, since, state) = (format!("{id:016x}"), utc(*since), word(*state));
    let ago = renewed_ago.as_secs();
    let columns = format!("{name}\t{state}\t{since}\t{ago}s ago\t{id}");
    let json = json!({
        "id": id,
        "name": name,
        "state": state,
        "since": since,
        "renewed_seconds_ago": ago,
        "epoch": epoch,
    });
    Row { columns, json }
}

fn word(state: NodeState) -> &'static str {
    match state {
        NodeState::Serves => "serves",
        NodeState::Waits => "waits",
        NodeState::Ended => "ended",
        NodeState::Dead => "dead",
        _ => "unknown",
    }
}
