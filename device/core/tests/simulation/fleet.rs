//! A thousand devices that lose the cloud in the same moment.

use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason};

use crate::world::World;

const FLEET: usize = 1_000;

fn fleet(seed: u64) -> World {
    let mut world = World::new(seed);
    for index in 0..FLEET {
        world.add(&format!("device-{index}"));
        let now = world.now;
        world.tell(index, |it| it.login_well(now));
    }
    world.run_for(Duration::from_secs(90));
    assert_eq!(connected(&world), FLEET);
    world
}

fn connected(world: &World) -> usize {
    (0..FLEET).filter(|index| world.is_connected(*index)).count()
}

/// The most upgrade requests within one second since then.
fn peak(world: &World, since: Duration) -> usize {
    let requests: Vec<_> = world.cloud.requests.iter().filter(|at| **at >= since).collect();
    let second = Duration::from_secs(1);
    (0..requests.len())
        .map(|first| {
            requests[first..].iter().take_while(|at| ***at < *requests[first] + second).count()
        })
        .max()
        .unwrap_or(0)
}

/// Everybody loses the cloud; it is back after `down` and takes `per_second` upgrades.
struct Comeback {
    /// The most requests within a second from then on.
    peak: usize,
    took: Duration,
    /// Attempts of all devices since they lost the cloud.
    dials: usize,
    /// From the loss to the first request.
    first: Duration,
}

fn comeback(down: u64, close: Option<CloseReason>, per_second: Option<usize>) -> Comeback {
    let mut world = fleet(1);
    let lost = world.now;
    world.stop_cloud(close);
    world.run_for(Duration::from_secs(down));
    world.cloud.up = true;
    world.cloud.per_second = per_second;
    let back = world.now;
    let all = |world: &World| world.cloud.serving() == FLEET;
    let took = world.run_until_so(Duration::from_secs(3_600), all).unwrap();
    let dials = world.devices.iter().flat_map(|device| &device.sums.dials);
    Comeback {
        peak: peak(&world, back),
        took,
        dials: dials.filter(|at| **at >= lost).count(),
        first: *world.cloud.requests.iter().find(|at| **at >= lost).unwrap() - lost,
    }
}

/// Since the bound of the wait doubles, a device that has tried for a time T dials in the next second
/// with a probability of 1 / (T ln 2). What is beyond four deviations from that is no chance.
#[test]
fn after_an_outage_no_second_sees_more_than_its_share_of_the_fleet() {
    for down in [5, 30, 120, 600] {
        let seen = comeback(down, None, None);
        let bounded = f64::from(u32::try_from(down).unwrap()).min(150.0);
        let share = 1_000.0 / (bounded * std::f64::consts::LN_2);
        let most = share + 4.0 * share.sqrt();
        assert!((seen.peak as f64) < most, "{} of {FLEET}, expected {most}", seen.peak);
        assert!(seen.took <= Duration::from_secs(302), "{:?}", seen.took);
    }
}

/// Without an outage the first back-off is all that spreads them.
#[test]
fn after_a_restart_that_nobody_announced_all_are_back_within_2_seconds() {
    let seen = comeback(0, None, None);
    assert_eq!(seen.dials, FLEET);
    assert!(seen.took <= Duration::from_secs(2), "{:?}", seen.took);
}

#[test]
fn a_delay_that_the_cloud_asks_for_is_kept_by_all_and_spread_by_a_tenth() {
    let close = CloseReason::retry_after(CloseCode::Restart, Duration::from_secs(300));
    let seen = comeback(0, Some(close), None);
    assert_eq!(seen.dials, FLEET);
    assert!(seen.first >= Duration::from_secs(300), "{:?}", seen.first);
    assert!(seen.took <= Duration::from_secs(332), "{:?}", seen.took);
    // A thousand within 30 s are 33 in a second, and four deviations more.
    assert!(seen.peak <= 57, "{}", seen.peak);
}

/// At 50 a second a thousand need 20 s at least; whoever is sent away comes again after 5 to 6 s.
#[test]
fn a_cloud_that_takes_50_a_second_gets_all_within_a_minute_and_a_few_attempts_each() {
    let close = CloseReason::retry_after(CloseCode::Restart, Duration::from_secs(5));
    for close in [None, Some(close)] {
        let seen = comeback(0, close, Some(50));
        assert!(seen.took <= Duration::from_secs(65), "{:?}", seen.took);
        assert!(seen.dials <= 5 * FLEET, "{} attempts", seen.dials);
    }
}
