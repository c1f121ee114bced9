//! `device`: lists, labels, revokes, blocks and forgets devices.

use clap::Subcommand;
use fedecks_protocol::DeviceId;
use fedecks_store::{
    Actor, DevicePattern, DeviceQuery, DeviceRecord, DeviceStore, ForgetOutcome, check_label,
};

use super::error::CliError;
use super::output::print;
use super::output::utc_or_never;
use super::place::Place;
use fedecks_common::utc;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Prints a line for each device, with tabs between its id, when it was first and last seen,
    /// `revoked` if its tokens ever were or `-`, since when it is blocked or `-`, and its label or `-`
    ///
    /// A running server notes when a device connects, about a second later.
    List {
        /// Only devices whose id this matches; each `*` in it stands for any characters
        #[arg(long, value_name = "PATTERN")]
        devices: Option<DevicePattern>,
        /// Only devices with this text in their id or label
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Only devices that are blocked
        #[arg(long)]
        blocked: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Gives a device a label, or takes its label away
    Label {
        /// Id of the device
        id: String,
        /// What people call it; without one the label is taken away
        label: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Makes every token that a device has worthless
    ///
    /// A running server ends the device's connection within about a second. The device has to log in
    /// with credentials again.
    Revoke {
        /// Id of the device
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Refuses a device until it is unblocked
    ///
    /// A running server ends the device's connection within about a second. Its token stays good for
    /// when it is unblocked.
    Block {
        /// Id of the device
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Lets a blocked device in again
    Unblock {
        /// Id of the device
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Takes a device off every list and makes its tokens worthless
    ///
    /// It is listed again if it logs in with credentials. A blocked device has to be unblocked first.
    Forget {
        /// Id of the device
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(command: Command) -> Result<(), CliError> {
    let by = Actor::cli();
    match command {
        Command::List { devices, search, blocked, place } => {
            let blocked = blocked.then_some(true);
            let query = DeviceQuery { scope: devices, search, blocked, ..DeviceQuery::default() };
            list(place, query)
        }
        Command::Label { id, label, place } => {
            let device = DeviceId::new(id)?;
            label.as_deref().map_or(Ok(()), check_label)?;
            let (store, runtime) = place.open_store()?;
            let known = runtime.block_on(store.set_label(&device, label.as_deref(), &by))?;
            if known { Ok(()) } else { Err(CliError::NoDevice(device)) }
        }
        Command::Revoke { id, place } => {
            let device = DeviceId::new(id)?;
            let (store, runtime) = place.open_store()?;
            runtime.block_on(store.revoke(&device, &by))?;
            print(&format!("{device}: its tokens are worthless now\n"))
        }
        Command::Block { id, place } => {
            let device = DeviceId::new(id)?;
            let (store, runtime) = place.open_store()?;
            let changed = runtime.block_on(store.block(&device, &by))?;
            let word = if changed.is_some() { "now" } else { "already" };
            print(&format!("{device}: {word} blocked\n"))
        }
        Command::Unblock { id, place } => {
            let device = DeviceId::new(id)?;
            let (store, runtime) = place.open_store()?;
            let changed = runtime.block_on(store.unblock(&device, &by))?;
            let words = if changed.is_some() { "not blocked any more" } else { "was not blocked" };
            print(&format!("{device}: {words}\n"))
        }
        Command::Forget { id, place } => {
            let device = DeviceId::new(id)?;
            let (store, runtime) = place.open_store()?;
            match runtime.block_on(store.forget(&device, &by))? {
                ForgetOutcome::Done(_) => print(&format!("{device}: forgotten\n")),
                ForgetOutcome::Unknown => Err(CliError::NoDevice(device)),
                ForgetOutcome::Blocked => Err(CliError::Blocked(device)),
            }
        }
    }
}

/// Page by page, so that a big fleet needs no big memory.
fn list(place: Place, mut query: DeviceQuery) -> Result<(), CliError> {
    let (store, runtime) = place.open_store()?;
    runtime.block_on(async {
        loop {
            let page = store.devices_page(&query).await?;
            print(&page.iter().map(line).collect::<String>())?;
            match page.into_iter().next_back() {
                Some(last) => query.after = Some(last.id),
                None => return Ok::<_, CliError>(()),
            }
        }
    })
}

fn line(device: &DeviceRecord) -> String {
    let DeviceRecord { id, label, first_seen, last_seen, generation, blocked_at } = device;
    let (first_seen, last_seen) = (utc_or_never(*first_seen), utc_or_never(*last_seen));
    let revoked = if *generation > 0 { "revoked" } else { "-" };
    let blocked = blocked_at.map_or_else(|| "-".into(), utc);
    let label = label.as_deref().unwrap_or("-");
    format!("{id}\t{first_seen}\t{last_seen}\t{revoked}\t{blocked}\t{label}\n")
}
