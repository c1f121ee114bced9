//! `account`: the accounts that may register devices.

use clap::Subcommand;
use fedecks_cloud::accounts::hash_password;
use fedecks_common::utc;
use fedecks_store::{Account, AccountStore, Actor, check_account_name};

use super::error::CliError;
use super::output::Output;
use super::password;
use super::place::{Place, create_store, start_runtime};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add an account; a running server accepts it immediately
    ///
    /// Asks twice for the password without showing it, or reads it from standard input if that is not
    /// a terminal: 8 to 1024 characters, up to the end of the line.
    Add {
        /// Name of the account, the `username` of the devices' credentials
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Remove an account
    ///
    /// Devices that were registered with it keep their tokens; `device revoke` revokes those.
    Remove {
        /// Name of the account
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// List accounts (name, added), separated by tabs
    List(Place),
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    match command {
        Command::Add { name, place } => {
            check_account_name(&name)?;
            let config = place.load_as_owner()?;
            // Without an answer no store is made.
            let hash = hash_password(&password::read(&name, start_runtime()?)?)?;
            let (store, runtime) = create_store(&config)?;
            Ok(runtime.block_on(store.add_account(&name, &hash, &Actor::cli()))?)
        }
        Command::Remove { name, place } => {
            let (store, runtime) = place.open_store()?;
            let removed = runtime.block_on(store.remove_account(&name, &Actor::cli()))?;
            if removed { Ok(()) } else { Err(CliError::NoAccount(name)) }
        }
        Command::List(place) => {
            let (store, runtime) = place.open_store()?;
            let accounts = runtime.block_on(store.accounts())?;
            output.print_header("NAME\tADDED")?;
            output.print(&accounts.iter().map(line).collect::<String>())
        }
    }
}

fn line(account: &Account) -> String {
    format!("{}\t{}\n", account.name, utc(account.created_at))
}
