//! The kernel's links, addresses and routes over rtnetlink.
//!
//! A message of the kernel only says that it is time to look: the tables are read as a whole then.
//! So nothing is lost when messages are, nothing depends on their order, and a flood of them costs a
//! look each [`SETTLE`].

mod route_dump;
mod socket;

use std::future::pending;
use std::io;
use std::time::Duration;

use fedecks_common::Backoff;
use fedecks_device_core::{NetworkDebouncer, Observation};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use self::route_dump::RouteSnapshot;
use self::socket::Events;
use crate::source::{NetworkSource, Newest};

/// The least time between two looks. The kernel tells of an address that goes before the routes
/// over it are gone, and of those it tells nothing: so the last look comes this long after the last
/// message. A change is settled for as long by whoever judges it.
const SETTLE: Duration = NetworkDebouncer::SETTLE;

/// Shows the default routes, at first and whenever they may have changed. Never ends; where there
/// is no rtnetlink, a sandbox maybe, it says so and shows nothing.
pub(crate) async fn watch(newest: &Newest) {
    let mut wait = Backoff::default();
    let mut is_told = false;
    loop {
        let events = match Events::subscribe() {
            Ok(events) => events,
            Err(error) => {
                warn!(%error, "no rtnetlink: the network is not watched");
                return pending().await;
            }
        };
        let since = Instant::now();
        let followed = follow(events, newest).await;
        if since.elapsed() > wait.cap() {
            (wait, is_told) = (Backoff::default(), false);
        }
        match followed {
            Ok(never) => match never {},
            Err(error) if is_told => debug!(%error, "the kernel's routes still cannot be read"),
            Err(error) => {
                warn!(%error, "the kernel's routes cannot be read: it is tried again");
                is_told = true;
            }
        }
        sleep(wait.next_delay()).await;
    }
}

async fn follow(events: Events, newest: &Newest) -> io::Result<std::convert::Infallible> {
    let mut seen = RouteSnapshot::take()?;
    loop {
        newest.send_replace(Some((NetworkSource::Netlink, Observation::Routes(seen.routes()))));
        events.concerning(|message| seen.may_change_by(message)).await?;
        loop {
            seen = RouteSnapshot::take()?;
            newest.send_replace(Some((NetworkSource::Netlink, Observation::Routes(seen.routes()))));
            sleep(SETTLE).await;
            if !events.have_come(|message| seen.may_change_by(message))? {
                break;
            }
        }
        seen = RouteSnapshot::take()?;
    }
}
