//! A link that is silent is not a link that is dead, and the other way round.

use std::time::Duration;

use fedecks_device_core::{Network, State};

use crate::device::Road;
use crate::world::World;

/// What the device takes at most to see that nothing comes down: the interval and the deadline.
const DEVICE_SEES: Duration = Duration::from_secs(19 + 10);

#[test]
fn a_cloud_that_talks_to_a_silent_device_keeps_it_and_is_pinged() {
    let mut world = World::with_connected_device(1);
    for _ in 0..120 {
        world.push_message(0);
        world.run_for(Duration::from_secs(5));
    }
    let sums = &world.devices[0].sums;
    assert!(world.is_connected(0));
    assert_eq!((sums.connects, sums.losses, sums.messages), (1, 0, 120));
    // 10 minutes hold 31 intervals of 19 s; each may begin a latency late.
    assert!((29..=32).contains(&sums.pings), "{} pings", sums.pings);
}

#[test]
fn a_week_of_silence_loses_nothing() {
    let mut world = World::with_connected_device(2);
    world.run_for(Duration::from_secs(7 * 86_400));
    assert!(world.is_connected(0));
    assert_eq!(world.devices[0].sums.losses, 0);
    assert_eq!(world.devices[0].sums.dials.len(), 1);
}

#[test]
fn a_link_that_brings_nothing_down_is_left_within_29_seconds() {
    for seed in 0..50 {
        let mut world = World::with_connected_device(seed);
        world.run_for(Duration::from_millis(seed * 777));
        world.cut(0, false, true);
        let took = lost_after(&mut world).unwrap();
        assert!(took <= DEVICE_SEES, "{took:?}");
        assert_back_within(&mut world, Duration::from_secs(3));
    }
}

#[test]
fn a_link_that_takes_nothing_up_is_left_within_29_seconds_of_silence() {
    for seed in 0..50 {
        let mut world = World::with_connected_device(seed);
        world.run_for(Duration::from_millis(seed * 777));
        world.cut(0, true, false);
        let took = lost_after(&mut world).unwrap();
        assert!(took <= DEVICE_SEES, "{took:?}");
        assert_back_within(&mut world, Duration::from_secs(3));
    }
}

/// What the cloud pushes proves it alive, so that the device cannot see that nothing goes up; the
/// cloud sees it.
#[test]
fn a_link_that_takes_nothing_up_from_a_device_that_hears_is_left_when_the_cloud_drops_it() {
    let mut world = World::with_connected_device(3);
    world.cut(0, true, false);
    let begun = world.now;
    while world.devices[0].core.state() == State::Connected {
        world.push_message(0);
        world.run_for(Duration::from_secs(1));
    }
    let took = world.now - begun;
    assert!(took >= Duration::from_secs(40), "{took:?}: the cloud waits for 60 s of silence");
    assert!(took <= Duration::from_secs(62), "{took:?}");
    assert_back_within(&mut world, Duration::from_secs(3));
}

#[test]
fn a_network_that_changed_is_seen_within_3_seconds_and_dialled_over_at_once() {
    for seed in 0..50 {
        let mut world = World::with_connected_device(seed);
        world.run_for(Duration::from_millis(seed * 777));
        world.cut(0, true, true);
        world.network(0, Network::Changed);
        let took = lost_after(&mut world).unwrap();
        assert!(took <= Duration::from_secs(3), "{took:?}");
        // The spread and seven times the slowest latency.
        assert_back_within(&mut world, Duration::from_millis(100 + 9 * 80));
    }
}

#[test]
fn a_network_that_changed_and_kept_the_link_costs_one_ping() {
    let mut world = World::with_connected_device(4);
    let pings = world.devices[0].sums.pings;
    world.network(0, Network::Changed);
    world.run_for(Duration::from_secs(10));
    assert!(world.is_connected(0));
    assert_eq!(world.devices[0].sums.losses, 0);
    assert_eq!(world.devices[0].sums.pings, pings + 1);
}

#[test]
fn a_network_that_comes_back_is_used_within_the_spread_and_the_round_trips() {
    for seed in 0..50 {
        let mut world = World::with_connected_device(seed);
        world.set_road(0, Road::Refusing);
        world.network(0, Network::Down);
        world.run_for(Duration::from_secs(2 * 3_600));
        assert!(matches!(world.devices[0].core.state(), State::Offline { .. }));
        world.set_road(0, Road::Good);
        world.network(0, Network::Up);
        assert_back_within(&mut world, Duration::from_millis(100 + 9 * 80));
    }
}

#[test]
fn a_device_that_slept_is_back_at_once() {
    for hours in [1, 8, 100] {
        let mut world = World::with_connected_device(hours);
        world.run_for(Duration::from_secs(7));
        world.suspend(0, Duration::from_secs(hours * 3_600));
        world.run_for(Duration::from_secs(hours * 3_600) - Duration::from_millis(1));
        assert_eq!(world.devices[0].sums.dials.len(), 1);
        let connects = world.devices[0].sums.connects;
        let took = world
            .run_until_so(Duration::from_secs(60), |world| {
                world.devices[0].sums.connects > connects && world.is_connected(0)
            })
            .unwrap();
        assert!(took <= Duration::from_millis(100 + 9 * 80 + 1_000), "{took:?}");
    }
}

fn lost_after(world: &mut World) -> Option<Duration> {
    world.run_until_so(Duration::from_secs(600), |world| {
        world.devices[0].core.state() != State::Connected
    })
}

#[track_caller]
fn assert_back_within(world: &mut World, bound: Duration) {
    let took = world.run_until_so(Duration::from_secs(600), |world| world.is_connected(0)).unwrap();
    assert!(took <= bound, "{took:?}");
}
