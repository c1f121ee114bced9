//! What a server does that has more sessions than its share when an operator asks for it: it closes the surplus, so that
//! those devices connect to other servers.

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::Hub;
use fedecks_store::RENEWAL_INTERVAL;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Joined;
use crate::lease::LeaseState;

/// How long each server waits after it has counted the sessions. Servers learn of the request up to a renewal apart, and
/// all should have counted before any closes one.
const ALL_HAVE_COUNTED: Duration = RENEWAL_INTERVAL.saturating_add(Duration::from_secs(1));

/// After how long the devices have connected again whose sessions were closed by any server. Before that the sessions are
/// not counted for another request.
const DEVICES_ARE_BACK: Duration = Duration::from_secs(10);

/// Closes the surplus, over `spread`, for each request. Requests that come meanwhile are one that begins afterwards. Runs
/// until the lease has ended.
pub(crate) async fn run(
    hub: Hub,
    mut lease: watch::Receiver<LeaseState>,
    joined: Arc<Joined>,
    spread: Duration,
) {
    let mut done = 0;
    loop {
        let asked = lease.wait_for(|lease| lease.rebalances != done).await;
        let Ok(asked) = asked.map(|lease| lease.rebalances) else { return };
        done = asked;
        // Others may close sessions until then where this one closes none.
        let next = Instant::now() + ALL_HAVE_COUNTED + spread + DEVICES_ARE_BACK;
        rebalance(done, &hub, &joined, spread).await;
        sleep_until(next).await;
    }
}

async fn rebalance(request: u64, hub: &Hub, joined: &Joined, spread: Duration) {
    let (own, fleet, servers) = (hub.stats().connected, hub.connected(), joined.others() + 1);
    if !joined.is_connected() || servers < 2 {
        tracing::warn!(request, "cannot rebalance, as the other servers cannot be reached by NATS");
        return;
    }
    let surplus = surplus(own, fleet, servers);
    tracing::info!(request, own, fleet, servers, surplus, "rebalances");
    if surplus > 0 {
        sleep(ALL_HAVE_COUNTED).await;
        // Some may have ended by themselves.
        let share = own - surplus;
        let surplus = surplus.min(hub.stats().connected.saturating_sub(share));
        let closed = hub.disconnect_some(surplus, spread).await;
        tracing::info!(
            request,
            closed,
            "closed sessions, so that devices connect to other servers"
        );
    }
}

/// How many of its `own` sessions a server has more than its share of the `fleet`. A few more do not count.
fn surplus(own: usize, fleet: usize, servers: usize) -> usize {
    let share = fleet.div_ceil(servers.max(1));
    let few = (share / 20).max(1);
    if own > share + few { own - share } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surplus_is_what_is_above_the_share_and_not_a_few() {
        assert_eq!(surplus(20, 20, 2), 10);
        assert_eq!([10, 11, 12].map(|own| surplus(own, 20, 2)), [0, 0, 2]);
        assert_eq!([1000, 1050, 1051].map(|own| surplus(own, 3000, 3)), [0, 0, 51]);
        assert_eq!([0, 1, 2, 3, 4].map(|own| surplus(own, own, 2)), [0, 0, 0, 0, 2]);
        assert_eq!(surplus(7, 7, 1), 0);
    }

    #[test]
    fn servers_that_closed_their_surplus_have_none() {
        for (own, other) in [(0, 0), (1, 0), (5, 0), (999, 1), (40_000, 17), (7, 7)] {
            let closed = surplus(own, own + other, 2);
            let (left, grown) = (own - closed, other + closed);
            assert_eq!(surplus(left, own + other, 2), 0, "{own} {other}");
            assert_eq!(surplus(grown, own + other, 2), 0, "{own} {other}");
        }
    }
}
