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

/// Five weeks are more than a token lives, and less than the cloud's grace adds to that.
#[test]
fn a_device_that_was_off_for_five_weeks_needs_no_login() {
    let mut world = world(4);
    world.set_path(0, Path::Unreachable);
    world.run_for(35 * DAY);
    world.set_path(0, Path::Good);
    world.assert_connected_after(secs(302));
    assert_eq!((world.cloud.logins, world.devices[0].sums.forgets), (1, 0));
}

#[test]
fn a_device_that_was_off_for_nine_weeks_keeps_its_token() {
    let mut world = world(4);
    world.set_path(0, Path::Unreachable);
    world.run_for(63 * DAY);
    world.set_path(0, Path::Good);
    world.run_for(secs(302));
    for _ in 0..2 {
        assert!(!world.is_connected(0));
        let device = &world.devices[0];
        assert_eq!((device.sums.unregistered, device.sums.forgets), (0, 0));
        assert!(device.store.token.is_some());
        let dials = device.sums.dials.len();
        world.run_for(DAY);
        // A day is 288 times 300 s or 576 times 150 s.
        let attempts = world.devices[0].sums.dials.len() - dials;
        assert!((288..=577).contains(&attempts), "{attempts} attempts");
        world.power_cut(0);
        world.run_for(secs(2));
    }
    world.login(0, "mice");
    world.run_for(secs(2));
    assert!(world.devices[0].store.token.is_some(), "a rejected login keeps it");
    world.login(0, PASSWORD);
    world.assert_connected_after(secs(2));
    world.power_cut(0);
    world.assert_connected_after(secs(2));
}

/// With `token_grace = 0`, or by more than the grace, which the next test needs.
#[test]
fn a_cloud_40_days_ahead_for_a_day_costs_no_login() {
    const FLEET: usize = 50;
    for (ahead, grace, is_late) in [(40, 0, true), (40, 28, false), (400, 28, true)] {
        let mut world = World::new(7);
        for index in 0..FLEET {
            world.add_connected(&format!("device-{index}"));
        }
        world.cloud.grace = grace * DAY;
        world.stop_cloud(None);
        world.run_for(secs(10));
        (world.cloud.up, world.cloud.clock_error) = (true, ahead * 86_400);
        world.run_for(secs(302));
        // One that logs in meanwhile gets a token from the future, which is good.
        world.add_connected("new");
        let requests = world.cloud.requests.len();
        let mut most_per_hour = 0;
        for hour in 0..24 {
            // Some lose their power as well.
            world.power_cut(hour);
            let before: Vec<_> = world.devices.iter().map(|it| it.sums.dials.len()).collect();
            world.run_for(secs(3_600));
            let dials = world.devices.iter().zip(before).map(|(it, old)| it.sums.dials.len() - old);
            most_per_hour = dials.max().unwrap().max(most_per_hour);
        }
        assert_eq!(!world.is_connected(0), is_late, "{ahead} days ahead");
        // 24 waits of 150 s, and the attempt after a power cut.
        assert!(most_per_hour <= 26, "{most_per_hour} attempts in an hour");
        let an_hour = (world.cloud.requests.len() - requests) / 24;
        assert!(an_hour <= FLEET * 24, "{an_hour} requests in an hour");

        world.stop_cloud(None);
        world.cloud.clock_error = 0;
        world.run_for(secs(10));
        let back = world.now;
        world.cloud.up = true;
        let all = |world: &World| (0..=FLEET).all(|index| world.is_connected(index));
        let took = world.run_until_so(secs(302), all);
        assert!(took.is_some(), "{ahead} days ahead, grace {grace}");
        let requests: Vec<_> = world.cloud.requests.iter().filter(|at| **at >= back).collect();
        assert_eq!(requests.len(), FLEET + 1, "one attempt each");
        assert_eq!(world.cloud.logins, u32::try_from(FLEET).unwrap() + 1);
        for device in &world.devices {
            assert_eq!((device.sums.forgets, device.sums.unregistered), (0, 0), "{}", device.id);
        }
    }
}

/// Its tokens seem older than they are: within the grace.
#[test]
fn a_login_at_a_cloud_40_days_behind_is_not_lost() {
    for (grace, needs_login) in [(28, false), (0, true)] {
        let mut world = World::new(8);
        world.cloud.grace = grace * DAY;
        world.cloud.clock_error = -40 * 86_400;
        world.add_connected("device-0");
        world.stop_cloud(None);
        (world.cloud.up, world.cloud.clock_error) = (true, 0);
        world.run_for(secs(302));
        assert_eq!(!world.is_connected(0), needs_login);
        assert_eq!(world.devices[0].sums.forgets, 0);
        if needs_login {
            // Whatever the operator does, such as to raise the grace: the token is still there.
            world.cloud.grace = 28 * DAY;
            world.assert_back_within(secs(302));
        }
        assert_eq!(world.cloud.logins, 1);
        // It was renewed at once, by the right clock.
        world.cloud.grace = Duration::ZERO;
        world.reset(0);
        world.assert_back_within(secs(3));
    }
}

#[test]
fn a_token_that_could_not_be_renewed_on_disk_still_works() {
    let mut world = world(9);
    world.devices[0].store.fails = true;
    world.assert_connected_after(40 * DAY);
    // The disk has the token of 40 days ago.
    world.power_cut(0);
    world.assert_back_within(secs(2));
    world.devices[0].store.fails = false;
    world.run_for(secs(62));
    world.cloud.grace = Duration::ZERO;
    world.power_cut(0);
    world.assert_connected_after(secs(2));
    assert_eq!((world.cloud.logins, world.devices[0].sums.forgets), (1, 0));
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
