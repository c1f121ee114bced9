//! `node`: the servers that share a database.

use clap::Subcommand;
use fedecks_common::utc;
use fedecks_store::{NodeRecord, NodeState, NodeStore};
use serde_json::json;

use super::error::CliError;
use super::output::{Format, Output, Row};
use super::place::Place;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the servers of a database (name, state, since, last renewal, id), separated by tabs
    ///
    /// One that serves has a lease of the database. Of several that serve together one leads: it delivers to webhooks,
    /// and deletes what is old. Servers that have ended are listed for a day.
    List {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
    /// End a server in order, wherever it runs
    ///
    /// It learns that within 5 s, disconnects its devices over the time of `drain.spread`, so that they connect to the
    /// other servers, and exits with status 79, after which systemd does not start it again.
    Drain {
        /// Its name, or its id if several have that name
        node: String,
        #[command(flatten)]
        place: Place,
    },
    /// Move devices from servers that have more than their share to the others, such as one that came back
    ///
    /// For several servers that serve together. Each learns that within 5 s. One that has over 5 % more devices than the
    /// average, and at least two, disconnects the surplus over the time of `drain.spread`. Those devices connect again
    /// within seconds, to the server that the proxy chooses. Where all have their share, nothing happens.
    Rebalance {
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    match command {
        Command::List { format, place } => {
            let (store, runtime) = place.open_store()?;
            let Some(nodes) = store.nodes() else { return Err(CliError::IsFile("node list")) };
            let nodes = runtime.block_on(nodes.nodes())?;
            output.print_header(format, "NAME\tSTATE\tSINCE\tRENEWED\tID")?;
            output.print_rows(format, nodes.iter().map(row))
        }
        Command::Drain { node, place } => {
            let (store, runtime) = place.open_store()?;
            let Some(nodes) = store.nodes() else { return Err(CliError::IsFile("node drain")) };
            runtime.block_on(drain(nodes, node))
        }
        Command::Rebalance { place } => {
            let (store, runtime) = place.open_store()?;
            let Some(nodes) = store.nodes() else { return Err(CliError::IsFile("node rebalance")) };
            match runtime.block_on(nodes.rebalance_nodes())? {
                0 => Err(CliError::FewNodes),
                _ => Ok(()),
            }
        }
    }
}

async fn drain(nodes: &dyn NodeStore, wanted: String) -> Result<(), CliError> {
    let is_meant = |node: &NodeRecord| {
        node.state == NodeState::Serves && (node.name == wanted || shown(node.id) == wanted)
    };
    let found: Vec<_> = nodes.nodes().await?.into_iter().filter(is_meant).collect();
    match &*found {
        [node] if nodes.drain_node(node.id).await? => Ok(()),
        [] | [_] => Err(CliError::NoNode(wanted)),
        _ => Err(CliError::ManyNodes(wanted)),
    }
}

fn shown(id: u64) -> String {
    format!("{id:016x}")
}

fn row(node: &NodeRecord) -> Row {
    let NodeRecord { id, name, epoch, state, leads, drains, since, renewed_ago, .. } = node;
    let (id, since) = (shown(*id), utc(*since));
    let (shown, state) = (activity(node), word(*state));
    let ago = renewed_ago.as_secs();
    let columns = format!("{name}\t{shown}\t{since}\t{ago}s ago\t{id}");
    let json = json!({
        "id": id,
        "name": name,
        "state": state,
        "leads": leads,
        "drains": drains,
        "since": since,
        "renewed_seconds_ago": ago,
        "epoch": epoch,
    });
    Row { columns, json }
}

/// What a node does, in a word.
fn activity(node: &NodeRecord) -> &'static str {
    match node {
        NodeRecord { drains: true, .. } => "drains",
        NodeRecord { leads: true, alone: false, .. } => "leads",
        node => word(node.state),
    }
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
