//! `account`: the accounts that may register devices.

use clap::Subcommand;
use fedecks_cloud::accounts::hash_password;
use fedecks_store::{AccountStore, Actor, check_account_name};

use super::error::CliError;
use super::output::print;
use super::password;
use super::place::{Place, start_runtime};
use fedecks_common::utc;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Adds an account; a running server knows it at once
    ///
    /// The password is asked for twice without being shown, or read from standard input if that is
    /// no terminal: 8 to 1024 characters, up to the end of the line.
    Add {
        /// Name of the account, the `username` of the devices' credentials
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Removes an account
    ///
    /// Devices that were registered with it keep their tokens; `device revoke` makes those worthless.
    Remove {
        /// Name of the account
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Prints each account's name and when it was added, with a tab between them
    List {
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Add { name, place } => {
            check_account_name(&name)?;
            let (store, runtime) = place.make_store()?;
            let hash = hash_password(&password::read(&name, start_runtime()?)?)?;
            Ok(runtime.block_on(store.add_account(&name, &hash, &Actor::cli()))?)
        }
        Command::Remove { name, place } => {
            let (store, runtime) = place.open_store()?;
            let removed = runtime.block_on(store.remove_account(&name, &Actor::cli()))?;
            if removed { Ok(()) } else { Err(CliError::NoAccount(name)) }
        }
        Command::List { place } => {
            let (store, runtime) = place.open_store()?;
            let accounts = runtime.block_on(store.accounts())?;
            let line = |account: &fedecks_store::Account| {
                format!("{}\t{}\n", account.name, utc(account.created_at))
            };
            print(&accounts.iter().map(line).collect::<String>())
        }
    }
}
