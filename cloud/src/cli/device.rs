use clap::Subcommand;
use fedecks_cloud::{DeviceRecord, Store};
use fedecks_protocol::DeviceId;

use super::output::{print, utc};
use super::{CliError, Place};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Prints each device's id, when it was first and last seen, and how often its tokens were
    /// revoked, with tabs between them
    ///
    /// A running server notes when a device connects, about a second later.
    List {
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
}

pub(super) fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::List { place } => {
            let (store, runtime) = place.open_store()?;
            let devices = runtime.block_on(store.devices())?;
            print(&devices.iter().map(line).collect::<String>())
        }
        Command::Revoke { id, place } => {
            let device = DeviceId::new(id)?;
            let (store, runtime) = place.open_store()?;
            let generation = runtime.block_on(store.revoke(&device))?;
            print(&format!("{device}: its tokens are worthless now (revocation {generation})\n"))
        }
    }
}

fn line(device: &DeviceRecord) -> String {
    let time = |seconds: Option<u64>| seconds.map_or_else(|| "never".into(), utc);
    let DeviceRecord { id, first_seen, last_seen, generation } = device;
    format!("{id}\t{}\t{}\t{generation}\n", time(*first_seen), time(*last_seen))
}
