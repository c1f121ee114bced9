//! After any fault has been repaired, the device reconnects without help.

use std::time::Duration;

use fedecks_device_core::Network;
use fedecks_protocol::{CloseCode, CloseReason};

use crate::cloud::PASSWORD;
use crate::device::Path;
use crate::world::{World, millis, secs};

/// The maximum backoff, 300 s; before it, the current attempt or dead link: at most 29 s of silence or
/// 20 s of one phase; after it, the round trips of an attempt.
const RECOVERY: Duration = Duration::from_secs(300 + 29 + 2);

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn weeks_of_faults_end_connected_without_a_login() {
    for seed in 0..4 {
        let mut world = World::with_connected_device(seed);
        let end = world.now + 7 * DAY;
        let mut faults = 0;
        while world.now < end {
            one_fault(&mut world);
            faults += 1;
        }
        assert!(faults > 250, "{faults} faults");
        repair(&mut world);
        let back = world.run_until_so(RECOVERY, |world| world.is_connected(0));
        assert!(back.is_some(), "seed {seed}");
        assert_eq!(world.cloud.logins, 1);
        assert_eq!(world.devices[0].sums.forgets, 0);
    }
}

/// A fault or none, and then some time without faults: up to an hour in all. [`repair`] repairs the
/// faults that last.
fn one_fault(world: &mut World) {
    let span = millis(world.random.u64(1..=40 * 60_000));
    let reported = world.random.bool();
    match world.random.u8(0..14) {
        0 | 1 => {}
        2 => world.reset(0),
        3 => world.cut(0, true, false),
        4 => world.cut(0, false, true),
        5 => world.cut(0, true, true),
        path @ 6..=8 => {
            let paths = [Path::Unreachable, Path::BlackHole, Path::Portal];
            world.set_path(0, paths[usize::from(path) - 6]);
            if reported {
                world.network(0, Network::Down);
            }
            world.run_for(span);
            world.set_path(0, Path::Good);
            if reported {
                let back = if world.random.bool() { Network::Up } else { Network::Changed };
                world.network(0, back);
            }
        }
        9 => {
            let delay = secs(world.random.u64(0..=60));
            let close = CloseReason::retry_after(CloseCode::Restart, delay);
            let close = world.random.bool().then_some(close);
            world.stop_cloud(close);
            world.run_for(span);
            world.cloud.up = true;
        }
        10 => world.power_cut(0),
        11 => {
            world.devices[0].store.mounted_at = world.now + span / 4;
            world.power_cut(0);
        }
        12 => world.suspend(0, span),
        _ => {
            let secret = world.cloud.secret;
            world.stop_cloud(None);
            world.cloud.up = true;
            world.cloud.secret = secret + 1;
            world.run_for(span);
            world.cloud.secret = secret;
        }
    }
    world.devices[0].store.fails = world.random.u8(0..4) == 0;
    let quiet = millis(world.random.u64(1..=20 * 60_000));
    world.run_for(quiet);
}

/// Repairs everything and lets the device wake up.
fn repair(world: &mut World) {
    let device = &world.devices[0];
    let ready = device.asleep_until.max(device.store.mounted_at).max(world.now);
    world.run_until(ready);
    world.devices[0].store.fails = false;
}

#[test]
fn a_day_with_the_wrong_secret_loses_no_device() {
    let mut world = World::with_connected_device(7);
    for index in 1..20 {
        world.add_connected(&format!("device-{index}"));
    }
    world.stop_cloud(None);
    world.cloud.up = true;
    world.cloud.secret = 2;
    let start = world.now;
    world.run_for(DAY);
    for device in &world.devices {
        let attempts = device.sums.dials.iter().filter(|at| **at >= start).count();
        // A day is 288 times 300 s or 576 times 150 s.
        assert!((288..=577).contains(&attempts), "{attempts} attempts");
        assert_eq!(device.sums.forgets, 0);
    }
    world.cloud.secret = 1;
    world.run_for(RECOVERY);
    for index in 0..20 {
        assert!(world.is_connected(index), "device {index}");
        assert_eq!(world.devices[index].sums.unregistered, 0);
    }
    assert_eq!(world.cloud.logins, 20);
}

#[test]
fn hours_behind_a_portal_do_not_cost_the_token() {
    let mut world = World::with_connected_device(8);
    world.set_path(0, Path::Portal);
    world.run_for(secs(10 * 3_600));
    assert!(!world.is_connected(0));
    let dials = world.devices[0].sums.dials.len();
    // Full jitter up to 300 s is 150 s on average: 240 attempts in 10 hours.
    assert!((150..=350).contains(&dials), "{dials} attempts");
    world.set_path(0, Path::Good);
    world.assert_back_within(RECOVERY);
    assert_eq!(world.devices[0].sums.forgets, 0);
    assert_eq!(world.cloud.logins, 1);
}

#[test]
fn a_login_behind_a_portal_waits_until_the_portal_is_gone() {
    let mut world = World::new(9);
    world.add("device-0");
    world.set_path(0, Path::Portal);
    world.login(0, PASSWORD);
    world.run_for(secs(3_600));
    assert_eq!(world.devices[0].sums.answers, 0);
    world.set_path(0, Path::Good);
    world.assert_connected_after(RECOVERY);
    assert_eq!(world.devices[0].sums.answers, 1);
    assert!(world.devices[0].store.token.is_some());
}

#[test]
fn a_wrong_password_interrupts_a_connection_only_briefly() {
    let mut world = World::with_connected_device(10);
    world.login(0, "mice");
    assert!(!world.is_connected(0));
    world.assert_back_within(secs(3));
    assert_eq!(world.cloud.logins, 1);
    assert_eq!(world.devices[0].sums.answers, 2);
}

#[test]
fn a_store_that_is_mounted_late_is_read_within_a_minute() {
    for seed in 0..20 {
        let mut world = World::with_connected_device(seed);
        world.devices[0].store.mounted_at = world.now + secs(seed * 60);
        world.power_cut(0);
        world.run_for(secs(seed * 60));
        world.assert_back_within(secs(62));
    }
}

#[test]
fn a_wrong_network_watch_does_not_keep_a_device_offline() {
    for seed in 0..20 {
        let mut world = World::with_connected_device(seed);
        world.reset(0);
        world.network(0, Network::Down);
        world.assert_back_within(secs(302));
    }
}
