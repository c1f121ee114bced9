//! A silent link is not a dead link, and vice versa.

use std::time::Duration;

use fedecks_device_core::{Network, State};

use crate::device::Path;
use crate::world::{World, millis, secs};

/// The longest time in which a device detects that nothing arrives: the interval and the deadline.
const DETECTION: Duration = Duration::from_secs(19 + 10);

/// The maximum spread and the round trips of an attempt at the maximum latency.
const RECONNECT: Duration = Duration::from_millis(100 + 9 * 80);

#[test]
fn a_silent_device_pings_a_cloud_that_sends() {
    let mut world = World::with_connected_device(1);
    for _ in 0..120 {
        world.push_message(0);
        world.run_for(secs(5));
    }
    let sums = &world.devices[0].sums;
    assert!(world.is_connected(0));
    assert_eq!((sums.connects, sums.losses, sums.messages), (1, 0, 120));
    // 10 minutes are 31 intervals of 19 s, each of which may start a latency late.
    assert!((29..=32).contains(&sums.pings), "{} pings", sums.pings);
}

#[test]
fn a_week_of_silence_keeps_the_connection() {
    let mut world = World::with_connected_device(2);
    world.assert_connected_after(secs(7 * 86_400));
    assert_eq!(world.devices[0].sums.losses, 0);
    assert_eq!(world.devices[0].sums.dials.len(), 1);
}

#[test]
fn a_link_that_loses_one_direction_is_left_within_29_seconds() {
    for (up, down) in [(true, false), (false, true)] {
        for seed in 0..50 {
            let mut world = World::with_connected_device(seed);
            world.run_for(millis(seed * 777));
            world.cut(0, up, down);
            assert_lost_within(&mut world, DETECTION);
            world.assert_back_within(secs(3));
        }
    }
}

/// Messages from the cloud prove that it is alive, so that only the cloud can detect the fault.
#[test]
fn a_link_that_only_works_down_is_left_when_the_cloud_drops_it() {
    let mut world = World::with_connected_device(3);
    world.cut(0, true, false);
    let start = world.now;
    while world.devices[0].core.state() == State::Connected {
        world.push_message(0);
        world.run_for(secs(1));
    }
    let took = world.now - start;
    assert!(took >= secs(40), "{took:?}: the cloud waits for 60 s of silence");
    assert!(took <= secs(62), "{took:?}");
    world.assert_back_within(secs(3));
}

#[test]
fn a_change_of_the_network_is_detected_within_3_seconds() {
    for seed in 0..50 {
        let mut world = World::with_connected_device(seed);
        world.run_for(millis(seed * 777));
        world.cut(0, true, true);
        world.network(0, Network::Changed);
        assert_lost_within(&mut world, secs(3));
        world.assert_back_within(RECONNECT);
    }
}

#[test]
fn a_change_of_the_network_that_keeps_the_link_costs_one_ping() {
    let mut world = World::with_connected_device(4);
    let pings = world.devices[0].sums.pings;
    world.network(0, Network::Changed);
    world.assert_connected_after(secs(10));
    assert_eq!(world.devices[0].sums.losses, 0);
    assert_eq!(world.devices[0].sums.pings, pings + 1);
}

#[test]
fn a_network_that_comes_back_is_used_after_the_spread() {
    for seed in 0..50 {
        let mut world = World::with_connected_device(seed);
        world.set_path(0, Path::Unreachable);
        world.network(0, Network::Down);
        world.run_for(secs(2 * 3_600));
        assert!(matches!(world.devices[0].core.state(), State::Offline { .. }));
        world.set_path(0, Path::Good);
        world.network(0, Network::Up);
        world.assert_back_within(RECONNECT);
    }
}

#[test]
fn a_suspended_device_is_back_immediately() {
    for hours in [1, 8, 100] {
        let mut world = World::with_connected_device(hours);
        world.run_for(secs(7));
        world.suspend(0, secs(hours * 3_600));
        world.run_for(secs(hours * 3_600) - millis(1));
        assert_eq!(world.devices[0].sums.dials.len(), 1);
        let connects = world.devices[0].sums.connects;
        let back = |world: &World| world.devices[0].sums.connects > connects;
        assert!(world.run_until_so(RECONNECT + secs(1), back).is_some());
        assert!(world.is_connected(0));
    }
}

#[track_caller]
fn assert_lost_within(world: &mut World, bound: Duration) {
    let lost = |world: &World| world.devices[0].core.state() != State::Connected;
    assert!(world.run_until_so(bound, lost).is_some(), "connected after {bound:?}");
}
