//! How long a device can work with one login.

use std::time::Duration;

use fedecks_device_core::State;

use crate::cloud::PASSWORD;
use crate::device::Path;
use crate::world::{World, secs};

const DAY: Duration = Duration::from_secs(86_400);

/// A cloud that asks for fewer pings, so that months pass quickly.
fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.cloud.heartbeat = secs(300);
    world.cloud.idle_timeout = secs(700);
    world.add_connected("device-0");
    world
}

#[test]
fn months_of_connection_need_only_one_login() {
    let mut world = world(1);
    world.assert_connected_after(90 * DAY);
    assert_eq!(world.cloud.logins, 1);
    // The stored token is fresh.
    world.power_cut(0);
    world.assert_connected_after(secs(2));
}

#[test]
fn a_minute_of_connection_every_four_weeks_needs_only_one_login() {
    let mut world = world(2);
    for _ in 0..6 {
        world.set_path(0, Path::Unreachable);
        // From token to token: this, the rest of the loop, and the difference of two waits.
        world.run_for(28 * DAY - secs(302 + 62 + 302));
        world.set_path(0, Path::Good);
        world.assert_connected_after(secs(302));
        world.run_for(secs(60));
        world.power_cut(0);
        world.assert_connected_after(secs(2));
    }
    assert_eq!(world.cloud.logins, 1);
    assert_eq!(world.devices[0].sums.forgets, 0);
}

#[test]
fn connections_shorter_than_the_refresh_get_fresh_tokens() {
    let mut world = world(3);
    for _ in 0..12 * 45 {
        world.run_for(secs(7_200));
        world.reset(0);
    }
    world.assert_connected_after(secs(2));
    assert_eq!(world.cloud.logins, 1);
}

#[test]
fn a_device_that_was_off_for_five_weeks_is_unregistered() {
    let mut world = world(4);
    world.set_path(0, Path::Unreachable);
    world.run_for(35 * DAY);
    assert_eq!(world.devices[0].sums.unregistered, 0);
    world.set_path(0, Path::Good);
    world.run_for(secs(302));
    let device = &world.devices[0];
    assert_eq!(device.core.state(), State::Unregistered);
    assert_eq!((device.sums.unregistered, device.sums.forgets), (1, 1));
    assert_eq!(device.store.token, None);
    let dials = device.sums.dials.len();
    world.run_for(DAY);
    assert_eq!(world.devices[0].sums.dials.len(), dials, "it must not dial");
    world.login(0, PASSWORD);
    world.assert_connected_after(secs(2));
}

#[test]
fn a_revoked_device_is_unregistered_until_a_new_login() {
    let mut world = world(5);
    world.revoke(0);
    world.run_for(secs(2));
    assert_eq!(world.devices[0].core.state(), State::Unregistered);
    assert_eq!(world.devices[0].store.token, None);
    world.power_cut(0);
    world.run_for(secs(600));
    assert_eq!(world.devices[0].core.state(), State::Unregistered);
    world.login(0, PASSWORD);
    world.assert_connected_after(secs(2));
}

#[test]
fn a_token_that_cannot_be_stored_works_until_a_power_cut() {
    let mut world = World::new(6);
    world.add("device-0");
    world.devices[0].store.fails = true;
    world.login(0, PASSWORD);
    world.assert_connected_after(DAY);
    world.reset(0);
    world.assert_connected_after(secs(3));
    world.devices[0].store.fails = false;
    world.run_for(secs(61));
    assert!(world.devices[0].store.token.is_some(), "the store is retried every minute");
    world.power_cut(0);
    world.assert_connected_after(secs(3));
}
