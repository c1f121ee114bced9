//! `claim`: the claims with which devices register themselves.

mod rows;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use fedecks_common::HumanDuration;
use fedecks_protocol::DeviceId;
use fedecks_store::{
    Actor, ClaimId, ClaimQuery, ClaimRecord, ClaimState, ClaimStore, ClaimUse, DevicePattern,
};

use super::clock::time_of_clock;
use super::error::CliError;
use super::output::{Format, Output, print_notice};
use super::place::{Place, create_store};
use crate::claims::{ClaimDevices, ClaimOrder, InvalidUrl, check_url, csv, csv_line};
use crate::clock;
use crate::error::ServerError;

use rows::{CLAIMS, USES, claim_fields, made, row, status, use_fields, use_row};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make claims and print their secrets; they cannot be shown again
    ///
    /// A running server accepts them at once. Only the secrets are on standard output, one on each line, for scripts.
    /// Creates the store if there is none.
    #[command(group = ArgGroup::new("for").required(true))]
    Add(Add),
    /// List claims (id, devices, state, used, expires, added, label, note), the newest first, separated by tabs
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
    /// Show a claim, and what it has registered
    Show {
        /// Id of the claim
        id: ClaimId,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a claim; a running server refuses it at once
    ///
    /// Devices that were registered with it keep their tokens; `device revoke --by-claim` revokes those.
    Revoke {
        /// Id of the claim
        id: ClaimId,
        #[command(flatten)]
        place: Place,
    },
    /// Print claims, or what they have registered, as CSV; without secrets
    Export {
        #[command(flatten)]
        which: Which,
        /// A line for each device that a claim has registered, instead of one for each claim
        #[arg(long)]
        uses: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
pub(super) struct Add {
    /// The devices that a claim registers: an id, or a pattern such as 'site-a-*'; each `*` stands for any characters
    #[arg(long, value_name = "PATTERN", group = "for")]
    devices: Option<DevicePattern>,
    /// File with the ids of devices, one on each line, for a claim for each; `-` for standard input
    #[arg(long, value_name = "FILE", group = "for", conflicts_with_all = ["count", "uses"])]
    ids: Option<PathBuf>,
    /// Number of claims, up to 10000
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    count: usize,
    /// Number of devices that each claim registers, up to 1000000
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    uses: u32,
    /// How often the device of a claim for a single id may come back without its token [default: 3]
    #[arg(long, value_name = "NUMBER")]
    returns: Option<u32>,
    /// How long the claims are valid, such as 90d or 12h; by default they never expire
    #[arg(long, value_name = "TIME")]
    expires: Option<HumanDuration>,
    /// Label of the devices that they register
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Let each device wait until it is approved by `device approve`
    #[arg(long)]
    approval: bool,
    /// Note for people
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// URL of the cloud, for the text of the QR codes
    #[arg(long, value_name = "URL", value_parser = cloud_url)]
    url: Option<String>,
    /// Print CSV for the production line, with the text of a QR code for each claim
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct Which {
    /// Only claims with this text in their id, devices, label or note
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only claims in this state: active, used-up, expired or revoked
    #[arg(long, value_name = "STATE", value_parser = claim_state)]
    state: Option<ClaimState>,
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    match command {
        Command::Add(arguments) => add(arguments, output),
        Command::List { which, format, place } => {
            let header = "ID\tDEVICES\tSTATE\tUSED\tEXPIRES\tADDED\tLABEL\tNOTE";
            output.print_header(format, header)?;
            let (config, store, runtime) = place.open_store_and_config()?;
            let now = clock::open(&config).0.now();
            runtime.block_on(each_page(&*store, which, now, async |page| {
                output.print_rows(format, page.iter().map(|claim| row(claim, now)))
            }))
        }
        Command::Show { id, format, place } => show(id, format, place, output),
        Command::Revoke { id, place } => {
            let (store, runtime) = place.open_store()?;
            let revoked = runtime.block_on(store.revoke_claim(id, &Actor::cli()))?;
            if !revoked && runtime.block_on(store.claim(id))?.is_none() {
                return Err(CliError::NoClaim(id));
            }
            let outcome = if revoked { "claim revoked" } else { "was revoked already" };
            output.print(&format!("{id}: {outcome}; the tokens of its devices stay valid\n"))
        }
        Command::Export { which, uses, place } => export(which, uses, place, output),
    }
}

fn add(arguments: Add, output: &mut Output<'_>) -> Result<(), CliError> {
    let Add { devices, ids, count, uses, returns, expires, label, approval, note, .. } = arguments;
    if expires.as_ref().is_some_and(|after| after.0 < Duration::from_secs(1)) {
        return Err(CliError::NoLifetime);
    }
    let devices = match (devices, ids) {
        (Some(pattern), _) => ClaimDevices::Pattern(pattern, count),
        (None, ids) => ClaimDevices::Each(read_ids(&ids.unwrap_or_default())?),
    };
    let config = arguments.place.load_as_owner()?;
    let expires_at = match expires {
        Some(after) => Some(time_of_clock(&config)?.saturating_add(after.0).as_secs()),
        None => None,
    };
    let order = ClaimOrder { devices, uses, returns, expires_at, label, approval, note };
    let claims = order.fill(clock::open(&config).0.now())?;
    let (store, runtime) = create_store(&config)?;
    runtime.block_on(store.add_claims(&claims, &Actor::cli()))?;
    let url = arguments.url.as_deref();
    if arguments.csv {
        output.print(&csv(&claims, url))?;
    } else {
        output.print_rows(arguments.format, claims.iter().map(|claim| made(claim, url)))?;
    }
    let what = match &claims[..] {
        [one] => format!("{}: claim added; its secret", one.id),
        many => format!("{} claims added; their secrets", many.len()),
    };
    print_notice(&format!("{what} cannot be shown again"));
    Ok(())
}

/// The ids in a file, without empty lines.
fn read_ids(file: &Path) -> Result<Vec<DeviceId>, CliError> {
    let failed = || ServerError::io(format!("read {}", file.display()));
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().take(MOST_BYTES).read_to_string(&mut text).map_err(failed())?;
    } else {
        let opened = File::open(file).map_err(failed())?;
        opened.take(MOST_BYTES).read_to_string(&mut text).map_err(failed())?;
    }
    let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty());
    let id = |(line, number): (&str, usize)| {
        DeviceId::new(line).map_err(|error| CliError::IdInFile {
            file: file.to_owned(),
            number,
            error,
        })
    };
    lines.map(id).collect()
}

/// Many more than a file of ids has.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Page by page, so that many claims do not need much memory.
async fn each_page(
    store: &(impl ClaimStore + ?Sized),
    which: Which,
    now: u64,
    mut work: impl AsyncFnMut(Vec<ClaimRecord>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let Which { search, state } = which;
    let mut query = ClaimQuery { search, state, now, ..ClaimQuery::default() };
    loop {
        let page = store.claims_page(&query).await?;
        let Some(last) = page.last() else { return Ok(()) };
        query.after = Some(last.id);
        work(page).await?;
    }
}

/// The same for what a claim has registered.
async fn each_use(
    store: &(impl ClaimStore + ?Sized),
    id: ClaimId,
    mut work: impl FnMut(Vec<ClaimUse>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut before = None;
    loop {
        let page = store.claim_uses(id, before, ClaimUse::MAX_PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        before = Some(last.number);
        work(page)?;
    }
}

fn show(
    id: ClaimId,
    format: Format,
    place: Place,
    output: &mut Output<'_>,
) -> Result<(), CliError> {
    let (config, store, runtime) = place.open_store_and_config()?;
    let now = clock::open(&config).0.now();
    runtime.block_on(async {
        let claim = store.claim(id).await?.ok_or(CliError::NoClaim(id))?;
        output.print_status(format, status(&claim, now))?;
        each_use(&*store, id, |page| output.print_rows(format, page.iter().map(use_row))).await
    })
}

fn export(which: Which, uses: bool, place: Place, output: &mut Output<'_>) -> Result<(), CliError> {
    let (config, store, runtime) = place.open_store_and_config()?;
    let now = clock::open(&config).0.now();
    output.print(if uses { USES } else { CLAIMS })?;
    runtime.block_on(each_page(&*store, which, now, async |page| {
        for claim in &page {
            let mut text = String::new();
            if !uses {
                csv_line(&mut text, &claim_fields(claim, now));
                output.print(&text)?;
                continue;
            }
            each_use(&*store, claim.id, |page| {
                let text = page.iter().fold(String::new(), |mut text, one| {
                    csv_line(&mut text, &use_fields(claim.id, one));
                    text
                });
                output.print(&text)
            })
            .await?;
        }
        Ok(())
    }))
}

fn cloud_url(text: &str) -> Result<String, InvalidUrl> {
    check_url(text).map(|()| text.to_owned())
}

fn claim_state(text: &str) -> Result<ClaimState, &'static str> {
    ClaimState::from_word(text).ok_or("expected active, used-up, expired or revoked")
}
