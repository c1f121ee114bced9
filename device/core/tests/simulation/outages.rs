//! Whatever went wrong: once it is right again the device is back, unaided.

use std::time::Duration;

use fedecks_device_core::Network;
use fedecks_protocol::{CloseCode, CloseReason};

use crate::device::Road;
use crate::world::World;

/// The longest back-off, 300 s; before it, the attempt or the dead link that was under way: at most
/// 29 s of silence or 20 s of one phase; after it, the round trips of an attempt.
const BACK: Duration = Duration::from_secs(300 + 29 + 2);

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
        let took = repaired(&mut world);
        assert!(took <= BACK, "seed {seed}: {took:?}");
        assert_eq!(world.cloud.logins, 1);
        assert_eq!(world.devices[0].sums.forgets, 0);
    }
}

/// One fault or a little peace, for up to an hour. Most of it ends by itself; what does not is ended
/// by [`repaired`].
fn one_fault(world: &mut World) {
    let span = Duration::from_millis(world.random.u64(1..=40 * 60_000));
    let told = world.random.bool();
    match world.random.u8(0..14) {
        0 | 1 => {}
        2 => world.reset(0),
        3 => world.cut(0, true, false),
        4 => world.cut(0, false, true),
        5 => world.cut(0, true, true),
        road @ 6..=8 => {
            world.set_road(0, [Road::Refusing, Road::Hole, Road::Portal][usize::from(road) - 6]);
            if told {
                world.network(0, Network::Down);
            }
            world.run_for(span);
            world.set_road(0, Road::Good);
            if told {
                let back = if world.random.bool() { Network::Up } else { Network::Changed };
                world.network(0, back);
            }
        }
        9 => {
            let delay = Duration::from_secs(world.random.u64(0..=60));
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
    let peace = Duration::from_millis(world.random.u64(1..=20 * 60_000));
    world.run_for(peace);
}

/// Everything works from now on; gives how long the device took to be back.
fn repaired(world: &mut World) -> Duration {
    let device = &world.devices[0];
    let ready = device.asleep_until.max(device.store.mounted_at).max(world.now);
    world.run_until(ready);
    world.devices[0].store.fails = false;
    world.run_until_so(Duration::from_secs(7_200), |world| world.is_connected(0)).unwrap()
}

#[test]
fn a_cloud_with_the_wrong_secret_for_a_day_gets_its_devices_back() {
    let mut world = World::with_connected_device(7);
    for index in 1..20 {
        world.add_connected(&format!("device-{index}"));
    }
    world.stop_cloud(None);
    world.cloud.up = true;
    world.cloud.secret = 2;
    let begun = world.now;
    world.run_for(DAY);
    for device in &world.devices {
        let attempts = device.sums.dials.iter().filter(|at| **at >= begun).count();
        // A day holds 288 times 300 s and 576 times 150 s.
        assert!((288..=577).contains(&attempts), "{attempts} attempts");
        assert_eq!(device.sums.forgets, 0);
    }
    world.cloud.secret = 1;
    world.run_for(BACK);
    for index in 0..20 {
        assert!(world.is_connected(index), "device {index}");
        assert_eq!(world.devices[index].sums.unregistered, 0);
    }
    assert_eq!(world.cloud.logins, 20);
}

#[test]
fn hours_behind_a_portal_cost_no_token() {
    let mut world = World::with_connected_device(8);
    world.set_road(0, Road::Portal);
    world.run_for(Duration::from_secs(10 * 3_600));
    assert!(!world.is_connected(0));
    let dials = world.devices[0].sums.dials.len();
    // The full jitter of 300 s makes 150 s on average: 240 in 10 hours.
    assert!((150..=350).contains(&dials), "{dials} attempts");
    world.set_road(0, Road::Good);
    let took = world.run_until_so(BACK, |world| world.is_connected(0));
    assert!(took.is_some());
    assert_eq!(world.devices[0].sums.forgets, 0);
    assert_eq!(world.cloud.logins, 1);
}

#[test]
fn a_login_behind_a_portal_is_answered_once_the_portal_is_gone() {
    let mut world = World::new(9);
    world.add("device-0");
    world.set_road(0, Road::Portal);
    let now = world.now;
    world.tell(0, |it| it.login_well(now));
    world.run_for(Duration::from_secs(3_600));
    assert_eq!(world.devices[0].sums.answers, 0);
    world.set_road(0, Road::Good);
    world.run_for(BACK);
    assert!(world.is_connected(0));
    assert_eq!(world.devices[0].sums.answers, 1);
    assert!(world.devices[0].store.token.is_some());
}

#[test]
fn a_wrong_password_does_not_cost_a_working_device_its_connection_for_long() {
    let mut world = World::with_connected_device(10);
    let now = world.now;
    world.tell(0, |it| it.login(now, "mice"));
    assert!(!world.is_connected(0));
    let took = world.run_until_so(BACK, |world| world.is_connected(0)).unwrap();
    assert!(took <= Duration::from_secs(3), "{took:?}");
    assert_eq!(world.cloud.logins, 1);
    assert_eq!(world.devices[0].sums.answers, 2);
}

#[test]
fn a_store_that_is_mounted_late_is_found_within_a_minute() {
    for seed in 0..20 {
        let mut world = World::with_connected_device(seed);
        world.devices[0].store.mounted_at = world.now + Duration::from_secs(seed * 60);
        world.power_cut(0);
        let mounted_at = world.devices[0].store.mounted_at;
        world.run_until(mounted_at);
        let took = world.run_until_so(BACK, |world| world.is_connected(0)).unwrap();
        assert!(took <= Duration::from_secs(62), "{took:?}");
    }
}

#[test]
fn a_network_watch_that_is_wrong_does_not_keep_the_device_away() {
    for seed in 0..20 {
        let mut world = World::with_connected_device(seed);
        world.reset(0);
        world.network(0, Network::Down);
        let took = world.run_until_so(BACK, |world| world.is_connected(0));
        assert!(took.is_some_and(|took| took <= Duration::from_secs(302)), "{took:?}");
    }
}
