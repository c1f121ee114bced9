//! A link over satellites: 4 s from a request to its answer.

use std::time::Duration;

use fedecks_device_core::Network;

use crate::cloud::PASSWORD;
use crate::world::{World, millis, secs};

const ONE_WAY: Duration = Duration::from_secs(2);

/// A connected device whose link is slow from its first attempt.
fn connected(seed: u64) -> World {
    let mut world = World::new(seed);
    world.latency = Some(ONE_WAY);
    world.add("device-0");
    world.login(0, PASSWORD);
    world.run_for(secs(25));
    assert!(world.is_connected(0), "{:?}", world.devices[0].core.state());
    world
}

#[test]
fn a_slow_connection_survives_every_change_of_the_network() {
    for seed in 0..20 {
        let mut world = connected(seed);
        // The first one comes before any pong, the others fall into every part of a ping's interval.
        for _ in 0..100 {
            world.network(0, Network::Changed);
            let pause = millis(world.random.u64(1_000..30_000));
            world.run_for(pause);
        }
        let sums = &world.devices[0].sums;
        assert_eq!((sums.losses, sums.dials.len()), (0, 1), "seed {seed}");
    }
}

#[test]
fn a_slow_attempt_survives_a_change_in_each_phase() {
    for at in (0..=16).map(secs) {
        let mut world = connected(1);
        world.reset(0);
        world.run_until_so(secs(60), |world| world.devices[0].sums.dials.len() == 2).unwrap();
        world.run_for(at);
        world.network(0, Network::Changed);
        world.run_until_so(secs(60), |world| world.is_connected(0)).unwrap();
        assert_eq!(world.devices[0].sums.dials.len(), 2, "changed after {at:?}");
    }
}

/// At its first attempt a device cannot know how slow the link is.
#[test]
fn a_first_slow_attempt_succeeds_despite_constant_changes() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.latency = Some(ONE_WAY);
        world.add("device-0");
        world.login(0, PASSWORD);
        let mut waited = Duration::ZERO;
        while !world.is_connected(0) {
            let pause = millis(world.random.u64(1_000..4_000));
            world.run_for(pause);
            world.network(0, Network::Changed);
            waited += pause;
            assert!(waited < secs(90), "seed {seed}: not connected after {waited:?}");
        }
    }
}

#[test]
fn a_slow_connection_that_a_change_has_cut_is_left_within_10_s() {
    for seed in 0..20 {
        let mut world = connected(seed);
        world.run_for(millis(seed * 3_777));
        world.cut(0, true, true);
        world.network(0, Network::Changed);
        let left = world.run_until_so(secs(10), |world| world.devices[0].sums.losses == 1);
        assert!(left.is_some(), "seed {seed}");
        world.assert_back_within(secs(20));
    }
}

/// The link that is measured is the present one, not the one before.
#[test]
fn a_fast_connection_after_a_slow_one_has_its_3_s_again() {
    let mut world = connected(1);
    world.run_for(secs(120));
    world.latency = Some(millis(20));
    world.reset(0);
    world.run_for(secs(30));
    assert!(world.is_connected(0));
    let losses = world.devices[0].sums.losses;
    world.cut(0, true, true);
    world.network(0, Network::Changed);
    let left = world.run_until_so(secs(3), |world| world.devices[0].sums.losses > losses);
    assert!(left.is_some());
}
