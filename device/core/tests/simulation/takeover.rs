//! Two devices with the same id, such as a cloned image, do not fight for the connection.

use fedecks_device_core::Network;

use crate::world::{World, secs};

/// A replaced device waits for at least 150 s, during which the other one stays connected: at most
/// 3,600 / 150 takeovers per hour.
const MAX_PER_HOUR: u32 = 24;

#[test]
fn two_devices_with_one_id_take_over_at_most_24_times_an_hour() {
    let mut world = World::with_connected_device(1);
    world.add_connected("device-0");
    world.run_for(secs(3_600));
    for _ in 0..24 {
        let before = world.cloud.takeovers;
        world.run_for(secs(3_600));
        let takeovers = world.cloud.takeovers - before;
        assert!(takeovers <= MAX_PER_HOUR, "{takeovers} in an hour");
        assert!(takeovers >= 12 - 1, "{takeovers} in an hour: the other one comes back");
    }
    let replaced: u32 = world.devices.iter().map(|device| device.sums.replaced).sum();
    assert_eq!(replaced, world.cloud.takeovers);
    assert!(world.is_connected(0) != world.is_connected(1));
    assert_eq!(world.devices[0].sums.forgets + world.devices[1].sums.forgets, 0);
}

#[test]
fn a_flapping_network_brings_no_replaced_device_back_sooner() {
    let mut world = World::with_connected_device(2);
    world.add_connected("device-0");
    let before = world.cloud.takeovers;
    for _ in 0..3_600 {
        world.run_for(secs(1));
        world.network(0, Network::Up);
        world.network(1, Network::Changed);
    }
    let takeovers = world.cloud.takeovers - before;
    assert!(takeovers <= MAX_PER_HOUR, "{takeovers} in an hour");
}
