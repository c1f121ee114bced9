//! `device`: lists, labels, revokes, blocks and forgets devices.

use clap::{ArgGroup, Args, Subcommand};
use fedecks_common::utc;
use fedecks_protocol::DeviceId;
use fedecks_store::{Actor, DevicePattern, DeviceQuery, DeviceRecord, ForgetOutcome, check_label};
use serde_json::json;
use tokio::runtime::Runtime;

use super::error::CliError;
use super::output::{Format, Output, Row, utc_or_never};
use super::place::Place;
use super::registration::{Matching, allow_reregistration, decide, list_approvals, shown};
use crate::store::OpenStore;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List devices (id, first seen, last seen, last revoked, blocked since, label, registered by), separated by tabs
    ///
    /// A running server records a connecting device within about a second.
    List {
        /// Only devices whose id matches; each `*` stands for any characters
        #[arg(long, value_name = "PATTERN")]
        devices: Option<DevicePattern>,
        /// Only devices with this text in their id or label
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Only devices that are blocked
        #[arg(long)]
        blocked: bool,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
    /// Label a device, or remove its label
    Label {
        /// Id of the device
        id: String,
        /// The new label; if omitted, the current label is removed
        label: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Revoke all tokens of a device, or of all that a claim or an account has registered
    ///
    /// A running server closes the device's connection within about a second. The device has to log in
    /// with credentials again, which `device allow-reregistration` allows. With --by-claim, --by-account or --devices,
    /// all devices that meet these conditions are revoked; --dry-run lists them before.
    #[command(group = ArgGroup::new("which").required(true).multiple(true))]
    Revoke(Revoke),
    /// Block a device until it is unblocked
    ///
    /// A running server closes the device's connection within about a second. Its token stays valid for
    /// when it is unblocked.
    Block(Shutout),
    /// Unblock a device
    Unblock(Target),
    /// Forget a device: remove it from all lists and revoke its tokens
    ///
    /// It is listed again if it logs in with credentials. A blocked device must be unblocked first.
    Forget(Target),
    /// List devices that wait for an approval (device, claim, since, last seen, address), separated by tabs
    Approvals {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
    /// Approve a device that waits: its next login with the same claim registers it
    Approve(Target),
    /// Reject a device that waits
    ///
    /// It is refused for a day. To refuse it for good, revoke its claim.
    Reject(Target),
    /// Allow a device to register again with an account or a claim, once, within a day
    ///
    /// For a board that has lost its token. Its tokens stay valid until it registers.
    AllowReregistration(Target),
}

#[derive(Args)]
pub(super) struct Revoke {
    /// Id of the device
    #[arg(group = "which")]
    id: Option<String>,
    /// Accept the id of a device that the store does not know
    ///
    /// For a device that logged in after the backup that was restored, or that never has.
    #[arg(long, conflicts_with_all = ["by_claim", "by_account", "devices"])]
    allow_unknown: bool,
    #[command(flatten)]
    matching: Matching,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct Target {
    /// Id of the device
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct Shutout {
    /// Accept the id of a device that the store does not know
    ///
    /// For a device that logged in after the backup that was restored, or that never has.
    #[arg(long)]
    allow_unknown: bool,
    #[command(flatten)]
    target: Target,
}

impl Shutout {
    /// Fails for an unknown device, unless that is allowed.
    fn open(self) -> Result<(DeviceId, OpenStore, Runtime), CliError> {
        let (device, store, runtime) = self.target.open()?;
        if !self.allow_unknown && runtime.block_on(store.device(&device))?.is_none() {
            return Err(CliError::UnknownDevice(device));
        }
        Ok((device, store, runtime))
    }
}

impl Target {
    fn parse(self) -> Result<(DeviceId, Place), CliError> {
        Ok((DeviceId::new(self.id)?, self.place))
    }

    fn open(self) -> Result<(DeviceId, OpenStore, Runtime), CliError> {
        let (device, place) = self.parse()?;
        let (store, runtime) = place.open_store()?;
        Ok((device, store, runtime))
    }
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    let by = Actor::cli();
    match command {
        Command::List { devices, search, blocked, format, place } => {
            let blocked = blocked.then_some(true);
            let query = DeviceQuery { scope: devices, search, blocked, ..DeviceQuery::default() };
            list(place, query, format, output)
        }
        Command::Label { id, label, place } => {
            label.as_deref().map_or(Ok(()), check_label)?;
            let (device, store, runtime) = Target { id, place }.open()?;
            let known = runtime.block_on(store.set_label(&device, label.as_deref(), &by))?;
            if !known {
                return Err(CliError::NoDevice(device));
            }
            let done = label.map_or("label removed".into(), |label| format!("labelled {label:?}"));
            output.print(&format!("{device}: {done}\n"))
        }
        Command::Revoke(Revoke { id: None, matching, place, .. }) => matching.revoke(place, output),
        Command::Revoke(Revoke { id: Some(id), allow_unknown, place, .. }) => {
            let target = Target { id, place };
            let (device, store, runtime) = Shutout { allow_unknown, target }.open()?;
            runtime.block_on(store.revoke(&device, &by))?;
            output.print(&format!("{device}: all tokens revoked\n"))
        }
        Command::Block(shutout) => {
            let (device, store, runtime) = shutout.open()?;
            let changed = runtime.block_on(store.block(&device, &by))?;
            let outcome = if changed.is_some() { "blocked" } else { "already blocked" };
            output.print(&format!("{device}: {outcome}\n"))
        }
        Command::Unblock(target) => {
            let (device, store, runtime) = target.open()?;
            let changed = runtime.block_on(store.unblock(&device, &by))?;
            if changed.is_none() && runtime.block_on(store.device(&device))?.is_none() {
                return Err(CliError::NoDevice(device));
            }
            let outcome = if changed.is_some() { "unblocked" } else { "was not blocked" };
            output.print(&format!("{device}: {outcome}\n"))
        }
        Command::Forget(target) => {
            let (device, store, runtime) = target.open()?;
            match runtime.block_on(store.forget(&device, &by))? {
                ForgetOutcome::Done(_) => output.print(&format!("{device}: forgotten\n")),
                ForgetOutcome::Blocked => Err(CliError::Blocked(device)),
                _ => Err(CliError::NoDevice(device)),
            }
        }
        Command::Approvals { format, place } => list_approvals(place, format, output),
        Command::Approve(target) => decide(target.parse()?, true, output),
        Command::Reject(target) => decide(target.parse()?, false, output),
        Command::AllowReregistration(target) => allow_reregistration(target.parse()?, output),
    }
}

/// Page by page, so that a large fleet does not need much memory.
fn list(
    place: Place,
    mut query: DeviceQuery,
    format: Format,
    output: &mut Output<'_>,
) -> Result<(), CliError> {
    let (store, runtime) = place.open_store()?;
    output.print_header(
        format,
        "ID\tFIRST SEEN\tLAST SEEN\tLAST REVOKED\tBLOCKED SINCE\tLABEL\tREGISTERED BY",
    )?;
    runtime.block_on(async {
        loop {
            let page = store.devices_page(&query).await?;
            output.print_rows(format, page.iter().map(row))?;
            match page.into_iter().next_back() {
                Some(last) => query.after = Some(last.id),
                None => return Ok::<_, CliError>(()),
            }
        }
    })
}

fn row(device: &DeviceRecord) -> Row {
    let DeviceRecord { id, label, first_seen, last_seen, generation, blocked_at, .. } = device;
    let (registered_by, registration) = shown(device.registration.as_ref());
    let (revoked, blocked) = ((*generation > 0).then(|| utc(*generation)), blocked_at.map(utc));
    let columns = format!(
        "{id}\t{}\t{}\t{}\t{}\t{}\t{registered_by}",
        utc_or_never(*first_seen),
        utc_or_never(*last_seen),
        revoked.as_deref().unwrap_or("-"),
        blocked.as_deref().unwrap_or("-"),
        label.as_deref().unwrap_or("-")
    );
    let json = json!({
        "id": id.as_str(),
        "label": label,
        "first_seen": first_seen.map(utc),
        "last_seen": last_seen.map(utc),
        "last_revoked": revoked,
        "blocked": blocked.is_some(),
        "blocked_since": blocked,
        "registration": registration,
        "reregistration_allowed_until": device.reregistration_allowed_until.map(utc),
    });
    Row { columns, json }
}
