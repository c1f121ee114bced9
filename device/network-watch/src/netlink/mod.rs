//! The kernel's links, addresses and routes over rtnetlink.
//!
//! A notification from the kernel only triggers a complete dump of the tables. So lost or reordered
//! notifications do no harm, and a flood of them costs one dump per [`SETTLE`].

mod route_dump;
mod socket;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::time::Duration;

use fedecks_common::Backoff;
use fedecks_device_core::{NetworkDebouncer, Observation};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use self::route_dump::RouteSnapshot;
use self::socket::Notifications;
use crate::source::{Latest, NetworkSource};

/// The minimum interval between two dumps. The kernel announces the removal of an address before it
/// removes the routes over it, and does not announce the latter: so the last dump is this long after the
/// last notification. The debouncer waits for the same time before it reports a change.
const SETTLE: Duration = NetworkDebouncer::SETTLE;

/// Publishes the default routes, initially and whenever they may have changed. Never ends; without
/// rtnetlink, in a sandbox for example, it logs that and publishes nothing.
pub(crate) async fn watch(latest: &Latest) {
    let mut backoff = Backoff::default();
    loop {
        let notifications = match Notifications::subscribe() {
            Ok(notifications) => notifications,
            Err(error) => {
                warn!(%error, "cannot open rtnetlink, the network is not watched");
                return pending().await;
            }
        };
        let since = Instant::now();
        let Err(error) = follow(notifications, latest).await;
        if since.elapsed() > backoff.cap() {
            backoff.reset();
        }
        if backoff.failures() == 0 {
            warn!(%error, "cannot read the kernel's routes, will retry");
        } else {
            debug!(%error, "still cannot read the kernel's routes");
        }
        sleep(backoff.next_delay()).await;
    }
}

async fn follow(notifications: Notifications, latest: &Latest) -> io::Result<Infallible> {
    let publish = |snapshot: &RouteSnapshot| {
        let observation = Observation::Routes(snapshot.routes());
        latest.send_replace(Some((NetworkSource::Netlink, observation)));
    };
    let mut snapshot = RouteSnapshot::take()?;
    loop {
        publish(&snapshot);
        notifications.wait_for(|message| snapshot.may_change_by(message)).await?;
        loop {
            snapshot = RouteSnapshot::take()?;
            publish(&snapshot);
            sleep(SETTLE).await;
            if !notifications.drain(|message| snapshot.may_change_by(message))? {
                break;
            }
        }
        snapshot = RouteSnapshot::take()?;
    }
}
