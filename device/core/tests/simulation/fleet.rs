//! A thousand devices that lose the cloud at the same moment.

use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason};

use crate::cloud::PASSWORD;
use crate::world::{World, secs};

const FLEET: usize = 1_000;

fn fleet(seed: u64) -> World {
    let mut world = World::new(seed);
    for index in 0..FLEET {
        world.add(&format!("device-{index}"));
        world.login(index, PASSWORD);
    }
    world.run_for(secs(90));
    assert!((0..FLEET).all(|index| world.is_connected(index)));
    world
}

/// The maximum number of upgrade requests within a second since then.
fn peak(world: &World, since: Duration) -> usize {
    let requests: Vec<_> = world.cloud.requests.iter().filter(|at| **at >= since).collect();
    let from = |first: usize| {
        let end = *requests[first] + secs(1);
        requests[first..].iter().take_while(|at| ***at < end).count()
    };
    (0..requests.len()).map(from).max().unwrap_or(0)
}

struct Recovery {
    /// The maximum number of requests within a second.
    peak: usize,
    took: Duration,
    /// The attempts of all devices.
    dials: usize,
    /// From the loss to the first request.
    first: Duration,
}

/// All devices lose the cloud, which is back after `down` and accepts `per_second` upgrades.
fn recovery(down: u64, close: Option<CloseReason>, per_second: Option<usize>) -> Recovery {
    let mut world = fleet(1);
    let lost = world.now;
    world.stop_cloud(close);
    world.run_for(secs(down));
    world.cloud.up = true;
    world.cloud.per_second = per_second;
    let back = world.now;
    let all = |world: &World| world.cloud.session_count() == FLEET;
    let took = world.run_until_so(secs(3_600), all).unwrap();
    let dials = world.devices.iter().flat_map(|device| &device.sums.dials);
    Recovery {
        peak: peak(&world, back),
        took,
        dials: dials.filter(|at| **at >= lost).count(),
        first: *world.cloud.requests.iter().find(|at| **at >= lost).unwrap() - lost,
    }
}

/// Since the bound of the delay doubles, a device that has tried for a time T dials in the next second
/// with a probability of 1 / (T ln 2). More than four standard deviations above that is not chance.
#[test]
fn an_outage_spreads_the_devices_evenly() {
    for down in [5, 30, 120, 600] {
        let recovery = recovery(down, None, None);
        let bounded = f64::from(u32::try_from(down).unwrap()).min(150.0);
        let share = 1_000.0 / (bounded * std::f64::consts::LN_2);
        let most = share + 4.0 * share.sqrt();
        assert!((recovery.peak as f64) < most, "{} of {FLEET}, expected {most}", recovery.peak);
        assert!(recovery.took <= secs(302), "{:?}", recovery.took);
    }
}

/// Without an outage only the first backoff spreads the devices.
#[test]
fn an_unannounced_restart_reconnects_all_devices_within_2_s() {
    let recovery = recovery(0, None, None);
    assert_eq!(recovery.dials, FLEET);
    assert!(recovery.took <= secs(2), "{:?}", recovery.took);
}

#[test]
fn an_announced_delay_is_kept_by_all_and_spread_by_a_tenth() {
    let close = CloseReason::retry_after(CloseCode::Restart, secs(300));
    let recovery = recovery(0, Some(close), None);
    assert_eq!(recovery.dials, FLEET);
    assert!(recovery.first >= secs(300), "{:?}", recovery.first);
    assert!(recovery.took <= secs(332), "{:?}", recovery.took);
    // A thousand within 30 s are 33 per second, plus four standard deviations.
    assert!(recovery.peak <= 57, "{}", recovery.peak);
}

/// At 50 per second a thousand devices need at least 20 s. Those turned away retry after 5 to 6 s.
#[test]
fn a_cloud_that_accepts_50_a_second_gets_all_within_a_minute() {
    let close = CloseReason::retry_after(CloseCode::Restart, secs(5));
    for close in [None, Some(close)] {
        let recovery = recovery(0, close, Some(50));
        assert!(recovery.took <= secs(65), "{:?}", recovery.took);
        assert!(recovery.dials <= 5 * FLEET, "{} attempts", recovery.dials);
    }
}
