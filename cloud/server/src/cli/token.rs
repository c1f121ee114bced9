//! `token`: the tokens of clients of the HTTP API.

use std::time::Duration;

use clap::Subcommand;
use fedecks_common::{HumanDuration, utc};
use fedecks_store::{
    Actor, ApiSecret, ApiToken, DevicePattern, NewApiToken, Role, check_token_name,
};
use serde_json::json;

use super::clock::time_of_clock;
use super::error::CliError;
use super::output::{Format, Output, Row, print_notice, utc_or_never};
use super::place::{Place, create_store};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add an API token and print it; it cannot be shown again
    ///
    /// A running server accepts it within about a second. Only the token is on standard output, for scripts. Creates
    /// the store if there is none.
    Add {
        /// Name of the token: letters, digits, '-', '_' and '.'
        name: String,
        /// What it allows: read, send or admin. Can be given several times; no role includes another
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
        /// The devices that it is limited to, such as 'site-a-*'; each `*` stands for any characters
        #[arg(long, value_name = "PATTERN")]
        devices: Option<DevicePattern>,
        /// Lifetime of the token, such as 90d or 12h; by default it never expires
        #[arg(long, value_name = "TIME")]
        expires: Option<HumanDuration>,
        #[command(flatten)]
        place: Place,
    },
    /// List API tokens (name, roles, devices, added, expires, last used), separated by tabs
    List {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
    /// Revoke an API token
    ///
    /// A running server refuses it within about a second.
    Revoke {
        /// Name of the token
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    let by = Actor::cli();
    match command {
        Command::Add { name, roles, devices, expires, place } => {
            check_token_name(&name)?;
            if expires.as_ref().is_some_and(|after| after.0 < Duration::from_secs(1)) {
                return Err(CliError::NoLifetime);
            }
            let config = place.load_as_owner()?;
            let expires_at = match expires {
                Some(after) => Some(time_of_clock(&config)?.saturating_add(after.0).as_secs()),
                None => None,
            };
            let secret = ApiSecret::generate();
            let roles = roles.into_iter().collect();
            let token = NewApiToken { name, secret, roles, devices, expires_at };
            let (store, runtime) = create_store(&config)?;
            runtime.block_on(store.add_api_token(&token, &by))?;
            output.print(&format!("{}\n", token.secret.expose()))?;
            print_notice(&format!("{}: API token added; it cannot be shown again", token.name));
            Ok(())
        }
        Command::List { format, place } => {
            let (store, runtime) = place.open_store()?;
            let tokens = runtime.block_on(store.api_tokens())?;
            output.print_header(format, "NAME\tROLES\tDEVICES\tADDED\tEXPIRES\tLAST USED")?;
            output.print_rows(format, tokens.iter().map(row))
        }
        Command::Revoke { name, place } => {
            let (store, runtime) = place.open_store()?;
            let revoked = runtime.block_on(store.revoke_api_token(&name, &by))?;
            if !revoked {
                return Err(CliError::NoToken(name));
            }
            output.print(&format!("{name}: API token revoked\n"))
        }
    }
}

fn row(token: &ApiToken) -> Row {
    let ApiToken { name, roles, devices, created_at, expires_at, last_used, .. } = token;
    let roles: Vec<_> = roles.iter().map(Role::as_str).collect();
    let (devices, created) = (devices.as_ref().map(DevicePattern::as_str), utc(*created_at));
    let columns = format!(
        "{name}\t{}\t{}\t{created}\t{}\t{}",
        roles.join(","),
        devices.unwrap_or("*"),
        utc_or_never(*expires_at),
        utc_or_never(*last_used)
    );
    let json = json!({
        "name": name,
        "roles": roles,
        "devices": devices,
        "created": created,
        "expires": expires_at.map(utc),
        "last_used": last_used.map(utc),
    });
    Row { columns, json }
}
