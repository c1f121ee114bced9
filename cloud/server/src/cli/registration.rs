//! `device approvals`, `approve`, `reject`, `allow-reregistration`, and `device revoke` for the devices that a claim or
//! an account has registered.

use clap::Args;
use fedecks_common::utc;
use fedecks_protocol::DeviceId;
use fedecks_store::{
    Actor, Approval, ClaimId, DevicePattern, REPETITION_S, RegisteredBy, Registration, RevokeFilter,
};
use serde_json::{Value, json};

use super::error::CliError;
use super::output::{Format, Output, Row};
use super::place::Place;
use crate::clock;

/// Which devices are revoked, if not a single one.
#[derive(Args)]
pub(super) struct Matching {
    /// Instead of one device, those that were registered by the claim with this id
    #[arg(long, value_name = "CLAIM", group = "which", conflicts_with_all = ["by_account", "id"])]
    by_claim: Option<ClaimId>,
    /// Instead of one device, those that were registered by this account
    #[arg(long, value_name = "ACCOUNT", group = "which", conflicts_with = "id")]
    by_account: Option<String>,
    /// Instead of one device, those whose id matches; each `*` stands for any characters
    #[arg(long, value_name = "PATTERN", group = "which", conflicts_with = "id")]
    devices: Option<DevicePattern>,
    /// Revoke nothing, and say how many devices would be, and which ones are the first of them
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
}

impl Matching {
    pub(super) fn revoke(self, place: Place, output: &mut Output<'_>) -> Result<(), CliError> {
        let Self { by_claim, by_account, devices, dry_run } = self;
        let by = by_claim.map(RegisteredBy::Claim);
        let filter = RevokeFilter { by: by.or(by_account.map(RegisteredBy::Account)), devices };
        let (store, runtime) = place.open_store()?;
        let revoked = runtime.block_on(store.revoke_matching(&filter, dry_run, &Actor::cli()))?;
        let (count, named) = (revoked.count, revoked.devices.len());
        let number = if count == 1 { "1 device".to_owned() } else { format!("{count} devices") };
        if count == 0 {
            return Err(CliError::NoMatch);
        }
        if !dry_run {
            return output.print(&format!("{number}: all tokens revoked\n"));
        }
        let names = revoked.devices.iter().map(|device| format!("{device}\n"));
        output.print(&names.collect::<String>())?;
        let rest = if named as u64 == count { "" } else { ", of which the first are listed" };
        output.print(&format!("{number} would be revoked{rest}\n"))
    }
}

/// Page by page.
pub(super) fn list_approvals(
    place: Place,
    format: Format,
    output: &mut Output<'_>,
) -> Result<(), CliError> {
    let (store, runtime) = place.open_store()?;
    output.print_header(format, "DEVICE\tCLAIM\tSINCE\tLAST SEEN\tADDRESS")?;
    runtime.block_on(async {
        let mut after = None;
        loop {
            let page = store.approvals_page(after.as_ref(), Approval::MAX_PAGE).await?;
            output.print_rows(format, page.iter().map(approval_row))?;
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.device),
                None => return Ok::<_, CliError>(()),
            }
        }
    })
}

fn approval_row(approval: &Approval) -> Row {
    let Approval { device, claim, since, asked_at, address } = approval;
    let (since, last_seen) = (utc(*since), utc(*asked_at));
    let address = address.map(|address| address.to_string());
    let shown = address.as_deref().unwrap_or("-");
    let columns = format!("{device}\t{claim}\t{since}\t{last_seen}\t{shown}");
    let json = json!({
        "device": device.as_str(),
        "claim": claim.to_string(),
        "since": since,
        "last_seen": last_seen,
        "address": address,
    });
    Row { columns, json }
}

/// Approves a device that waits, or rejects it.
pub(super) fn decide(
    (device, place): (DeviceId, Place),
    approve: bool,
    output: &mut Output<'_>,
) -> Result<(), CliError> {
    let (store, runtime) = place.open_store()?;
    let by = Actor::cli();
    let found = runtime.block_on(async {
        if approve { store.approve(&device, &by).await } else { store.reject(&device, &by).await }
    })?;
    if !found {
        return Err(CliError::NoApproval(device));
    }
    let outcome = if approve { "approved; its next login registers it" } else { "rejected" };
    output.print(&format!("{device}: {outcome}\n"))
}

pub(super) fn allow_reregistration(
    (device, place): (DeviceId, Place),
    output: &mut Output<'_>,
) -> Result<(), CliError> {
    let (config, store, runtime) = place.open_store_and_config()?;
    let until = clock::open(&config).0.now().saturating_add(REPETITION_S);
    let known = runtime.block_on(store.allow_reregistration(&device, until, &Actor::cli()))?;
    if !known {
        return Err(CliError::NoDevice(device));
    }
    output.print(&format!("{device}: may register again, once, until {}\n", utc(until)))
}

/// By what a device was registered, for lists: a column and an object.
pub(super) fn shown(registration: Option<&Registration>) -> (String, Value) {
    let Some(Registration { by, at, address }) = registration else {
        return ("-".to_owned(), Value::Null);
    };
    let address = address.map(|address| address.to_string());
    let by = by.to_string();
    let object = json!({ "by": &by, "at": utc(*at), "address": address });
    (by, object)
}
