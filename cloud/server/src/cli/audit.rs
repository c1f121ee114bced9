//! `audit`: who did what.

use clap::Subcommand;
use fedecks_common::utc;
use fedecks_protocol::DeviceId;
use fedecks_store::{AuditClass, AuditQuery, AuditRecord};
use serde_json::json;

use super::error::CliError;
use super::output::{Format, Output, Row};
use super::place::Place;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List who did what, newest first (time, who, what, device, detail, address), separated by tabs
    List {
        /// Only this class: access (changes of accounts and API tokens), devices (changes of devices),
        /// sign-ins (to the dashboard), logins (of devices), refusals (of changes) or messages
        #[arg(long, value_name = "CLASS", value_parser = audit_class)]
        class: Option<AuditClass>,
        /// Only what was done to this device
        #[arg(long, value_name = "ID")]
        device: Option<String>,
        /// Only what was done by this actor, such as cli or token:NAME
        #[arg(long, value_name = "WHO")]
        by: Option<String>,
        /// Maximum number of entries
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = whole_number)]
        limit: u32,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    let Command::List { class, device, by, limit, format, place } = command;
    let device = device.map(DeviceId::new).transpose()?;
    let (store, runtime) = place.open_store()?;
    output.print_header(format, "TIME\tWHO\tWHAT\tDEVICE\tDETAIL\tADDRESS")?;
    runtime.block_on(async {
        let mut query = AuditQuery { before: None, class, device, by, limit };
        while query.limit > 0 {
            let page = store.audit_page(&query).await?;
            output.print_rows(format, page.iter().map(row))?;
            let Some(last) = page.last() else { break };
            query.before = Some(last.sequence);
            query.limit = query.limit.saturating_sub(page.len() as u32);
        }
        Ok::<_, CliError>(())
    })
}

fn whole_number(text: &str) -> Result<u32, &'static str> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or("expected a whole number above 0")
}

fn audit_class(text: &str) -> Result<AuditClass, String> {
    AuditClass::from_word(text).ok_or_else(|| format!("expected one of {}", AuditClass::words()))
}

fn row(record: &AuditRecord) -> Row {
    let AuditRecord { at, by, address, action, device, detail, sequence: _ } = record;
    let (time, class, action) = (utc(*at), action.class().as_str(), action.as_str());
    let device = device.as_ref().map(DeviceId::as_str);
    let address = address.map(|address| address.to_string());
    let [shown_device, shown_detail, shown_address] =
        [device, detail.as_deref(), address.as_deref()].map(|text| text.unwrap_or("-"));
    let columns =
        format!("{time}\t{by}\t{action}\t{shown_device}\t{shown_detail}\t{shown_address}");
    let json = json!({
        "time": time,
        "class": class,
        "by": by,
        "address": address,
        "action": action,
        "device": device,
        "detail": detail,
    });
    Row { columns, json }
}
