//! How long a device lives on one login.

use std::time::Duration;

use fedecks_device_core::State;

use crate::device::Road;
use crate::world::World;

const DAY: Duration = Duration::from_secs(86_400);

/// A cloud that asks for fewer pings, so that months pass quickly.
fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.cloud.heartbeat = Duration::from_secs(300);
    world.cloud.idle_timeout = Duration::from_secs(700);
    world.add_connected("device-0");
    world
}

#[test]
fn months_of_connection_need_no_second_login() {
    let mut world = world(1);
    world.run_for(90 * DAY);
    assert!(world.is_connected(0));
    assert_eq!(world.cloud.logins, 1);
    world.power_cut(0);
    world.run_for(Duration::from_secs(2));
    assert!(world.is_connected(0), "what the store holds is fresh");
}

#[test]
fn a_device_that_is_on_for_a_minute_every_four_weeks_needs_no_second_login() {
    let mut world = world(2);
    for _ in 0..6 {
        world.set_road(0, Road::Refusing);
        // From one token to the next: this, what follows in the loop, and the difference of two waits.
        world.run_for(28 * DAY - Duration::from_secs(302 + 62 + 302));
        world.set_road(0, Road::Good);
        world.run_for(Duration::from_secs(302));
        assert!(world.is_connected(0));
        world.run_for(Duration::from_secs(60));
        world.power_cut(0);
        world.run_for(Duration::from_secs(2));
        assert!(world.is_connected(0));
    }
    assert_eq!(world.cloud.logins, 1);
    assert_eq!(world.devices[0].sums.forgets, 0);
}

#[test]
fn connections_shorter_than_the_refresh_still_bring_fresh_tokens() {
    let mut world = world(3);
    for _ in 0..12 * 45 {
        world.run_for(Duration::from_secs(7_200));
        world.reset(0);
    }
    world.run_for(Duration::from_secs(2));
    assert!(world.is_connected(0));
    assert_eq!(world.cloud.logins, 1);
}

#[test]
fn a_device_that_was_off_for_five_weeks_is_unregistered() {
    let mut world = world(4);
    world.set_road(0, Road::Refusing);
    world.run_for(35 * DAY);
    assert_eq!(world.devices[0].sums.unregistered, 0);
    world.set_road(0, Road::Good);
    world.run_for(Duration::from_secs(302));
    let device = &world.devices[0];
    assert_eq!(device.core.state(), State::Unregistered);
    assert_eq!((device.sums.unregistered, device.sums.forgets), (1, 1));
    assert_eq!(device.store.token, None);
    let dials = device.sums.dials.len();
    world.run_for(DAY);
    assert_eq!(world.devices[0].sums.dials.len(), dials, "it stays away");
    let now = world.now;
    world.tell(0, |it| it.login_well(now));
    world.run_for(Duration::from_secs(2));
    assert!(world.is_connected(0));
}

#[test]
fn a_revoked_device_is_unregistered_and_a_new_login_helps() {
    let mut world = world(5);
    world.revoke(0);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.devices[0].core.state(), State::Unregistered);
    assert_eq!(world.devices[0].store.token, None);
    world.power_cut(0);
    world.run_for(Duration::from_secs(600));
    assert_eq!(world.devices[0].core.state(), State::Unregistered);
    let now = world.now;
    world.tell(0, |it| it.login_well(now));
    world.run_for(Duration::from_secs(2));
    assert!(world.is_connected(0));
}

#[test]
fn a_token_that_was_never_on_disk_is_gone_after_a_power_cut_and_only_then() {
    let mut world = World::new(6);
    world.add("device-0");
    world.devices[0].store.fails = true;
    let now = world.now;
    world.tell(0, |it| it.login_well(now));
    world.run_for(DAY);
    assert!(world.is_connected(0));
    world.reset(0);
    world.run_for(Duration::from_secs(3));
    assert!(world.is_connected(0), "the token is in memory");
    world.devices[0].store.fails = false;
    world.run_for(Duration::from_secs(61));
    assert!(world.devices[0].store.token.is_some(), "the store is tried each minute");
    world.power_cut(0);
    world.run_for(Duration::from_secs(3));
    assert!(world.is_connected(0));
}
