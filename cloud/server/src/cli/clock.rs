//! `clock`: whether the server's clock is below its floor, and how to reset a wrong floor.

use std::time::Duration;

use clap::Subcommand;
use fedecks_common::utc;
use fedecks_store::{Actor, AuditAction, AuditEntry, Clock};
use serde_json::json;

use super::error::CliError;
use super::output::{self, Format, Output, Row};
use super::place::{Place, start_runtime};
use crate::clock;
use crate::config::{Config, Overrides};
use crate::owner::act_as_owner_of;
use crate::store::open_if_there;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the clock, whether the kernel calls it synchronized, and its floor
    ///
    /// The floor is a time that has certainly passed: when the program was built, or what the server
    /// stored last while the clock was synchronized. A server whose clock is below it refuses every device.
    Show {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
    /// Reset a floor that is wrong to the time that the clock shows
    ///
    /// For a floor that a clock stored while it was ahead. Check first that the clock is right now: shows
    /// both times, and does nothing unless the clock is below the floor. A running server notices within
    /// about a second.
    Accept(Place),
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<(), CliError> {
    match command {
        Command::Show { format, place } => output.print_status(format, status(&load(place)?.1)),
        Command::Accept(place) => accept(place, output),
    }
}

fn load(place: Place) -> Result<(Config, Clock), CliError> {
    let config = place.load(Overrides::default())?;
    // The floor is in the data directory.
    let store = config.store.file().into_iter();
    act_as_owner_of(&[&*config.data_dir].into_iter().chain(store).collect::<Vec<_>>())?;
    let (clock, _, stored) = clock::open(&config);
    if let Err(error) = stored {
        output::print_error(&error.into());
    }
    Ok((config, clock))
}

fn status(clock: &Clock) -> Row {
    let synchronized = clock.is_synchronized();
    let state = if synchronized { "synchronized" } else { "not synchronized" };
    let origin = if clock.floor() == clock.built_at() { "build" } else { "stored" };
    let (now, floor, behind) = (utc(clock.now()), utc(clock.floor()), clock.behind());
    let shown = behind.map_or_else(|| "no".to_owned(), days_and_time);
    let json = json!({
        "clock": now,
        "synchronized": synchronized,
        "floor": floor,
        "floor_from": origin,
        "behind_seconds": behind.map(|time| time.as_secs()),
    });
    Row {
        columns: format!("clock: {now} ({state})\nfloor: {floor} ({origin})\nbehind: {shown}"),
        json,
    }
}

fn accept(place: Place, output: &mut Output<'_>) -> Result<(), CliError> {
    let (config, clock) = load(place)?;
    output.print(&(status(&clock).columns + "\n"))?;
    let (now, built_at) = (clock.now(), clock.built_at());
    if now < built_at {
        return Err(CliError::ClockBeforeBuild { clock: utc(now), built: utc(built_at) });
    }
    if !clock.below_floor() {
        return output.print("the clock is not below its floor, nothing to accept\n");
    }
    let floor = clock.floor();
    clock::accept(&config, &clock)?;
    output.print(&format!("the floor is now {}\n", utc(now)))?;
    let runtime = start_runtime()?;
    if let Some(store) = open_if_there(&config, &runtime)? {
        let detail = Some(format!("{} instead of {}", utc(now), utc(floor)));
        let (by, action) = (Actor::cli(), AuditAction::ClockAccepted);
        // Written when the store is closed.
        store.audit_later(AuditEntry { at: now, by, action, device: None, detail });
        runtime.block_on(store.close());
    }
    Ok(())
}

/// Such as `40 days 3:05:00`.
fn days_and_time(duration: Duration) -> String {
    let (days, seconds) = (duration.as_secs() / 86400, duration.as_secs() % 86400);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{days} days {hours}:{minutes:02}:{:02}", seconds % 60)
}

/// The time since 1970, unless the clock is certainly wrong.
pub(super) fn time_of_clock(config: &Config) -> Result<Duration, CliError> {
    let (clock, _, _) = clock::open(config);
    if clock.below_floor() {
        let (clock, floor) = (utc(clock.now()), utc(clock.floor()));
        return Err(CliError::ClockBehind { clock, floor });
    }
    Ok(clock.since_1970())
}
