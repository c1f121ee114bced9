//! `account`: the accounts that may register devices.

use clap::Subcommand;
use fedecks_cloud::accounts::hash_password;
use fedecks_common::utc;
use fedecks_store::{Account, Actor, check_account_name};
use serde_json::json;

use super::error::CliError;
use super::output::{Format, Output, Row};
use super::password;
use super::place::{Place, create_store, start_runtime};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add an account; a running server accepts it immediately
    ///
    /// Asks twice for the password without showing it, or reads it from standard input if that is not
    /// a terminal: 8 to 1024 characters, up to the end of the line. Creates the store if there is none.
    Add {
        /// Name of the account, the `username` of the devices' credentials
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Change the password of an account; a running server accepts it immediately
    ///
    /// Reads the new password as `account add` does. Devices that logged in with the old one keep their tokens;
    /// `device revoke` revokes those.
    Passwd {
        /// Name of the account
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
    List {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    match command {
        Command::Add { name, place } => {
            check_account_name(&name)?;
            let config = place.load_as_owner()?;
            // Without an answer no store is made.
            let hash = hash_password(&password::read(&name, start_runtime()?)?)?;
            let (store, runtime) = create_store(&config)?;
            runtime.block_on(store.add_account(&name, &hash, &Actor::cli()))?;
            output.print(&format!("{name}: account added\n"))
        }
        Command::Passwd { name, place } => {
            let (store, runtime) = place.open_store()?;
            // Before it asks.
            if runtime.block_on(store.password_hash(&name))?.is_none() {
                return Err(CliError::NoAccount(name));
            }
            let hash = hash_password(&password::read(&name, start_runtime()?)?)?;
            if !runtime.block_on(store.set_password_hash(&name, &hash, &Actor::cli()))? {
                return Err(CliError::NoAccount(name));
            }
            output.print(&format!("{name}: password changed\n"))
        }
        Command::Remove { name, place } => {
            let (store, runtime) = place.open_store()?;
            let removed = runtime.block_on(store.remove_account(&name, &Actor::cli()))?;
            if !removed {
                return Err(CliError::NoAccount(name));
            }
            output
                .print(&format!("{name}: account removed; the tokens of its devices stay valid\n"))
        }
        Command::List { format, place } => {
            let (store, runtime) = place.open_store()?;
            let accounts = runtime.block_on(store.accounts())?;
            output.print_header(format, "NAME\tADDED")?;
            output.print_rows(format, accounts.iter().map(row))
        }
    }
}

fn row(account: &Account) -> Row {
    let (name, created) = (&account.name, utc(account.created_at));
    let columns = format!("{name}\t{created}");
    Row { columns, json: json!({ "name": name, "created": created }) }
}
