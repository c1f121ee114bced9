//! `webhook`: what the receivers of webhooks rejected.

use clap::Subcommand;
use fedecks_common::utc;
use fedecks_store::DeadLetter;
use serde_json::{Value, json};

use super::error::CliError;
use super::output::{Format, Output, Row};
use super::place::Place;
use crate::webhooks::queue_name;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the events that receivers rejected (time, webhook, device, id, answer), separated by tabs
    ///
    /// An event that its receiver answers with 400, 413 or 422 three times is not delivered. It is kept for a week,
    /// with the latest others. With --json each has the event itself.
    DeadLetters {
        /// Only those of this webhook
        #[arg(long, value_name = "NAME")]
        webhook: Option<String>,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
}

/// How many are read from the store at a time.
const PAGE: u32 = 100;

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    let Command::DeadLetters { webhook, format, place } = command;
    let (config, store, runtime) = place.open_store_and_config()?;
    let mut names: Vec<_> = config.webhooks.iter().map(|webhook| &*webhook.name).collect();
    if let Some(only) = &webhook {
        names.retain(|name| name == only);
        if names.is_empty() {
            return Err(CliError::NoWebhook(only.clone()));
        }
    }
    output.print_header(format, "TIME\tWEBHOOK\tDEVICE\tID\tANSWER")?;
    for name in names {
        let (queue, mut after) = (queue_name(name), 0);
        loop {
            let page = runtime.block_on(store.dead_letters(&queue, after, PAGE))?;
            let Some(last) = page.last() else { break };
            after = last.number;
            output.print_rows(format, page.iter().map(|letter| row(name, letter)))?;
        }
    }
    Ok(())
}

fn row(webhook: &str, letter: &DeadLetter) -> Row {
    let DeadLetter { number: _, item, rejected_at, reason } = letter;
    let (time, id) = (utc(*rejected_at), &item.id);
    let device = Some(&*item.lane).filter(|lane| !lane.is_empty());
    let columns = format!("{time}\t{webhook}\t{}\t{id}\t{reason}", device.unwrap_or("-"));
    let event: Value = serde_json::from_slice(&item.body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&item.body).into());
    let json = json!({
        "time": time,
        "webhook": webhook,
        "device": device,
        "id": id,
        "answer": reason,
        "event": event,
    });
    Row { columns, json }
}
