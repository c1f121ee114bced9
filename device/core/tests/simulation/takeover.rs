//! Two devices with one id, a cloned image for example, do not fight for the connection.

use std::time::Duration;

use crate::world::World;

/// The one that was replaced waits 150 s at least, and meanwhile the other one stays: at most
/// 3,600 / 150 takeovers in an hour.
const MOST_IN_AN_HOUR: u32 = 24;

#[test]
fn two_devices_with_one_id_take_each_others_place_at_most_24_times_an_hour() {
    let mut world = World::with_connected_device(1);
    world.add_connected("device-0");
    world.run_for(Duration::from_secs(3_600));
    for _ in 0..24 {
        let before = world.cloud.takeovers;
        world.run_for(Duration::from_secs(3_600));
        let takeovers = world.cloud.takeovers - before;
        assert!(takeovers <= MOST_IN_AN_HOUR, "{takeovers} in an hour");
        assert!(takeovers >= 12 - 1, "{takeovers} in an hour: the other one comes again");
    }
    let replaced: u32 = world.devices.iter().map(|device| device.sums.replaced).sum();
    assert_eq!(replaced, world.cloud.takeovers);
    assert!(world.is_connected(0) != world.is_connected(1));
    assert_eq!(world.devices[0].sums.forgets + world.devices[1].sums.forgets, 0);
}

#[test]
fn a_network_that_flaps_does_not_make_the_replaced_one_come_sooner() {
    let mut world = World::with_connected_device(2);
    world.add_connected("device-0");
    let before = world.cloud.takeovers;
    for _ in 0..3_600 {
        world.run_for(Duration::from_secs(1));
        world.network(0, fedecks_device_core::Network::Up);
        world.network(1, fedecks_device_core::Network::Changed);
    }
    let takeovers = world.cloud.takeovers - before;
    assert!(takeovers <= MOST_IN_AN_HOUR, "{takeovers} in an hour");
}
