//! `token`: the tokens of callers of the HTTP API.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use fedecks_store::{
    Actor, ApiSecret, ApiToken, ApiTokenStore, DevicePattern, NewApiToken, Role, check_token_name,
};

use super::error::CliError;
use super::output::print;
use super::output::utc_or_never;
use super::place::Place;
use fedecks_common::{HumanDuration, utc};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Adds an API token and prints it, which is the only time that it is shown
    ///
    /// A running server accepts it within about a second.
    Add {
        /// Name of the token: letters, digits, '-', '_' and '.'
        name: String,
        /// What it allows: read, send or admin. Can be given several times; none includes another
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
        /// The devices that it is limited to, such as 'site-a-*'; each `*` stands for any characters
        #[arg(long, value_name = "PATTERN")]
        devices: Option<DevicePattern>,
        /// After how long it ends, such as 90d or 12h; without this it does not
        #[arg(long, value_name = "TIME")]
        expires: Option<HumanDuration>,
        #[command(flatten)]
        place: Place,
    },
    /// Prints a line for each API token, with tabs between its name, its roles, its devices, and
    /// when it was added, ends and was used last
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Makes an API token worthless
    ///
    /// A running server refuses it within about a second.
    Revoke {
        /// Name of the token
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(command: Command) -> Result<(), CliError> {
    let by = Actor::cli();
    match command {
        Command::Add { name, roles, devices, expires, place } => {
            check_token_name(&name)?;
            let expires_at = expires.map(|after| {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                now.saturating_add(after.0).as_secs()
            });
            let secret = ApiSecret::generate();
            let roles = roles.into_iter().collect();
            let token = NewApiToken { name, secret, roles, devices, expires_at };
            let (store, runtime) = place.make_store()?;
            runtime.block_on(store.add_api_token(&token, &by))?;
            print(&format!("{}\n", token.secret.expose()))
        }
        Command::List { place } => {
            let (store, runtime) = place.open_store()?;
            let tokens = runtime.block_on(store.api_tokens())?;
            print(&tokens.iter().map(line).collect::<String>())
        }
        Command::Revoke { name, place } => {
            let (store, runtime) = place.open_store()?;
            let revoked = runtime.block_on(store.revoke_api_token(&name, &by))?;
            if revoked { Ok(()) } else { Err(CliError::NoToken(name)) }
        }
    }
}

fn line(token: &ApiToken) -> String {
    let ApiToken { name, roles, devices, created_at, expires_at, last_used, .. } = token;
    let roles: Vec<_> = roles.iter().map(Role::as_str).collect();
    let (roles, devices) = (roles.join(","), devices.as_ref().map_or("*", |some| some.as_str()));
    let (created, expires) = (utc(*created_at), utc_or_never(*expires_at));
    format!("{name}\t{roles}\t{devices}\t{created}\t{expires}\t{}\n", utc_or_never(*last_used))
}
