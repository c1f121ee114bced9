//! Something between the devices and the cloud, or the cloud itself, ends every connection after a while.

use std::time::Duration;

use fedecks_device_core::{LostReason, State};
use fedecks_protocol::{CloseCode, CloseReason};

use crate::cloud::PASSWORD;
use crate::world::{World, millis, reset, secs};

/// The round trips of an attempt at the maximum latency.
const ATTEMPT: Duration = Duration::from_millis(9 * 80);

/// Ends the device's connection each time that it has lasted this long. Returns how long it was away each time.
fn ended_after(world: &mut World, lasts: Duration, times: usize, by: &LostReason) -> Vec<Duration> {
    let away = |world: &mut World| {
        let ends = world.now + lasts;
        world.run_until(ends);
        world.end(0, by.clone());
        let lost = world.run_until_so(secs(1), |world| !world.is_connected(0));
        assert!(lost.is_some());
        world.run_until_so(secs(3_600), |world| world.is_connected(0)).unwrap()
    };
    (0..times).map(|_| away(world)).collect()
}

#[test]
fn a_device_whose_connections_end_after_40_s_returns_in_seconds() {
    for seed in 0..20 {
        let mut world = World::with_connected_device(seed);
        let longest = ended_after(&mut world, secs(40), 60, &reset()).into_iter().max().unwrap();
        assert!(longest <= secs(4) + ATTEMPT, "seed {seed}: away for {longest:?}");
    }
}

/// However the end comes: without a frame, or with the codes of clouds and proxies that are not about a fault.
#[test]
fn a_device_is_back_within_a_tenth_of_what_its_connections_last() {
    let codes =
        [CloseCode::Normal, CloseCode::GoingAway, CloseCode::Restart, CloseCode::Other(1006)];
    let closes = codes.map(|code| LostReason::Closed(CloseReason::new(code)));
    for by in closes.into_iter().chain([reset()]) {
        for lasts in [11, 15, 30, 40, 55, 59] {
            let mut world = World::with_connected_device(lasts);
            let longest = ended_after(&mut world, secs(lasts), 40, &by).into_iter().max().unwrap();
            let most = secs(lasts) / 10 + ATTEMPT;
            assert!(longest <= most, "{by:?} after {lasts} s: away for {longest:?}");
        }
    }
}

#[test]
fn a_device_that_is_hung_up_on_at_once_backs_off() {
    for lasts in [millis(1), secs(1), secs(8)] {
        let mut world = World::with_connected_device(3);
        let start = world.now;
        let end = start + secs(10 * 3_600);
        while world.now < end {
            world.run_for(lasts);
            world.end(0, reset());
            world.run_for(millis(100));
            world.run_until_so(secs(3_600), |world| world.is_connected(0)).unwrap();
        }
        // 240 in 10 hours at the cap, and a few before that.
        let attempts = world.devices[0].sums.dials.iter().filter(|at| **at >= start).count();
        assert!((150..=350).contains(&attempts), "{attempts} attempts");
    }
}

/// A cloud that says that it is overloaded, or finds a fault, is believed, however late it says so.
#[test]
fn a_fault_that_the_cloud_reports_counts_after_40_s_as_well() {
    let codes = [CloseCode::Overloaded, CloseCode::InternalError, CloseCode::ProtocolError];
    for code in codes.into_iter().chain([CloseCode::TooBig]) {
        let by = LostReason::Closed(CloseReason::new(code));
        let mut world = World::with_connected_device(5);
        let longest = ended_after(&mut world, secs(40), 30, &by).into_iter().max().unwrap();
        assert!(longest > secs(120), "{code:?}: {longest:?}");
    }
}

/// The Welcome alone proves little: nothing that arrives after it makes the connection last longer.
#[test]
fn a_connection_that_is_silent_after_its_welcome_is_a_failure() {
    let mut world = World::with_connected_device(6);
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        world.cut(0, true, true);
        let lost = |world: &World| world.devices[0].core.state() != State::Connected;
        world.run_until_so(secs(30), lost).unwrap();
        let away = world.run_until_so(secs(3_600), |world| world.is_connected(0)).unwrap();
        longest = longest.max(away);
    }
    assert!(longest > secs(120), "{longest:?}");
}

/// All connections of a fleet are ended at once, and from then on each one after 40 s. The devices do not stay in
/// step with each other, and are connected for nine tenths of the time.
#[test]
fn a_fleet_whose_connections_end_after_40_s_spreads_and_stays() {
    const FLEET: usize = 200;
    let mut world = World::new(1);
    for index in 0..FLEET {
        world.add(&format!("device-{index}"));
        world.login(index, PASSWORD);
    }
    world.run_for(secs(90));
    let start = world.now;
    let mut up_since = vec![Some(start - secs(40)); FLEET];
    let mut connected = 0;
    const STEPS: usize = 18_000;
    for _ in 0..STEPS {
        for (device, up_since) in up_since.iter_mut().enumerate() {
            if !world.is_connected(device) {
                *up_since = None;
                continue;
            }
            connected += 1;
            let since = *up_since.get_or_insert(world.now);
            if world.now - since >= secs(40) {
                world.end(device, reset());
            }
        }
        world.run_for(millis(200));
    }
    let share = connected as f64 / (FLEET * STEPS) as f64;
    assert!(share > 0.9, "connected for {share} of the time");
    // The most in a second, of the last ten minutes. In step, all would come within 4 s.
    let late = start + secs(3_000);
    let mut seconds = vec![0; 601];
    for at in world.cloud.requests.iter().filter(|at| **at >= late) {
        seconds[(*at - late).as_secs() as usize] += 1;
    }
    let most = seconds.iter().max().unwrap();
    assert!(*most <= FLEET / 8, "{most} of {FLEET} in a second");
}
