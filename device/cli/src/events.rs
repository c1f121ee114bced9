//! `fedecks events`: prints connection events.

use fedecks_protocol::Term;

use crate::arguments::Events;
use crate::failure::Failure;
use crate::follow::{Countdown, follow};
use crate::{bus, output};

pub(crate) async fn events(arguments: Events) -> Result<(), Failure> {
    let device = bus::device().await?;
    let owners = device.inner().receive_owner_changed().await?;
    let signals = device.receive_event().await?;
    output::note("waiting for events");
    let mut countdown = Countdown::new(arguments.count);
    follow(signals, owners, async |signal| {
        let event = signal.args()?;
        let (name, details) = (event.name, event.details.into_term());
        output::line(if arguments.json { json(name, details)? } else { text(name, details)? })?;
        Ok(countdown.wants_more())
    })
    .await
}

fn json(name: String, details: Term) -> Result<String, Failure> {
    let mut event = vec![(Term::from("event"), Term::Str(name))];
    event.extend(sorted(details));
    output::json(&Term::Map(event))
}

fn text(name: String, details: Term) -> Result<String, Failure> {
    let mut line = name;
    for (name, value) in sorted(details) {
        line = format!("{line} {}={}", name.as_str().unwrap_or_default(), output::json(&value)?);
    }
    Ok(line)
}

/// The entries of a D-Bus dict have no order.
fn sorted(details: Term) -> Vec<(Term, Term)> {
    let Term::Map(mut entries) = details else { return Vec::new() };
    entries.sort_by(|(one, _), (other, _)| one.as_str().cmp(&other.as_str()));
    entries
}
