//! Single scenes of the queue on disk.

use std::time::Duration;

use fedecks_device_core::KeepError;
use fedecks_protocol::{InstallationId, Lane};

use super::simulated_disk::SimulatedDisk;
use super::world::World;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn world() -> World {
    let mut world = World::healthy(SimulatedDisk::new(1), 1);
    world.run();
    world.work();
    world
}

fn keep(world: &mut World, count: usize) {
    for _ in 0..count {
        world.keep(Lane::Normal, 50, false, WEEK);
    }
}

fn writes(world: &World) -> (u64, u64) {
    let disk = world.disk.0.borrow();
    (disk.written_bytes, disk.syncs)
}

#[test]
fn what_is_acknowledged_soon_never_touches_the_disk() {
    let mut world = world();
    world.connect();
    for _ in 0..200 {
        keep(&mut world, 3);
        world.pass(Duration::from_millis(500));
        world.work();
        world.write();
        while world.cloud.read() {}
        world.acknowledge();
    }
    world.finish();
    assert!(world.delivered.len() > 500, "{}", world.delivered.len());
    assert_eq!(world.accepted.len(), 600);
    assert_eq!(writes(&world), (0, 0));
}

#[test]
fn what_waits_offline_is_written_in_groups_and_sent_in_order() {
    let mut world = world();
    for _ in 0..30 {
        keep(&mut world, 1);
        world.pass(Duration::from_secs(1));
        world.work();
    }
    world.rest();
    assert_eq!(world.accepted.len(), 30);
    let (_, syncs) = writes(&world);
    assert!(syncs <= 7 + 2 * 10 + 2, "{syncs}");
    world.restart();
    world.finish();
    world.check();
    assert_eq!(world.cloud.handed.len(), 30);
    assert!(world.cloud.handed.iter().all(|(_, _, redelivered)| *redelivered));
    assert_eq!(world.core.queue().messages, 0);
}

#[test]
fn a_message_with_sync_is_written_at_once() {
    let mut world = world();
    world.connect();
    world.keep(Lane::Urgent, 50, true, WEEK);
    world.work();
    assert_eq!(world.accepted.len(), 1);
    assert!(writes(&world).1 > 0);
}

#[test]
fn a_disk_that_fails_is_told_and_tried_again() {
    let mut world = world();
    world.disk.0.borrow_mut().read_only = true;
    keep(&mut world, 2);
    world.pass(Duration::from_secs(1));
    world.work();
    assert_eq!(world.refused.len(), 2);
    assert!(
        matches!(&world.refused[0], KeepError::Disk { error, .. } if error.contains("read-only"))
    );
    assert!(world.core.disk_queue().unwrap().error.is_some());
    assert_eq!(world.core.queue().messages, 2);
    world.disk.0.borrow_mut().read_only = false;
    world.pass(Duration::from_secs(60));
    world.work();
    assert_eq!(world.core.disk_queue().unwrap().error, None);
    world.restart();
    world.finish();
    assert_eq!(world.cloud.handed.len(), 2);
}

#[test]
fn a_disk_that_does_not_respond_is_reported_in_time() {
    let mut world = world();
    keep(&mut world, 1);
    for _ in 0..200 {
        keep(&mut world, 1);
    }
    world.pass(Duration::from_secs(15));
    assert!(world.accepted.is_empty());
    let full = world.refused.iter().filter(|it| matches!(it, KeepError::QueueFull { .. })).count();
    assert_eq!(world.refused.len(), 201);
    assert!(full > 50, "{full}");
}

#[test]
fn a_full_disk_drops_old_normal_and_refuses_urgent_messages() {
    let mut world = world();
    for _ in 0..200 {
        keep(&mut world, 1);
        world.rest();
    }
    assert_eq!(world.accepted.len(), 200);
    assert!(world.lost.len() >= 120, "{}", world.lost.len());
    assert!(world.core.disk_queue().unwrap().messages <= 80);
    assert_eq!(world.core.queue().lost, world.lost.len() as u64);
    world.finish();
    world.check();
    assert_eq!(world.cloud.handed.len() + world.lost.len(), 200);
    world.disconnect();
    for _ in 0..200 {
        world.keep(Lane::Urgent, 50, false, WEEK);
        world.rest();
    }
    let lost = world.lost.len();
    assert!(world.refused.iter().any(|it| matches!(it, KeepError::QueueFull { .. })));
    world.finish();
    world.check();
    assert_eq!(world.lost.len(), lost, "no message of the urgent lane");
}

#[test]
fn what_has_expired_by_a_trusted_clock_is_skipped() {
    for has_clock in [true, false] {
        let mut world = world();
        world.has_clock = has_clock;
        world.keep(Lane::Normal, 50, false, Duration::from_secs(60));
        world.keep(Lane::Normal, 50, false, WEEK);
        world.rest();
        world.restart();
        world.now = world.now + Duration::from_secs(61);
        world.finish();
        assert_eq!(world.cloud.handed.len(), if has_clock { 1 } else { 2 });
        assert_eq!(world.cloud.skipped.len(), usize::from(has_clock));
        assert_eq!(world.core.queue().lost, u64::from(has_clock));
    }
}

#[test]
fn damage_is_skipped_counted_and_told() {
    let mut world = world();
    keep(&mut world, 12);
    world.rest();
    let name = "0000000000000000.segment";
    world.disk.0.borrow_mut().damage(name, 40 + 150);
    world.restart();
    world.work();
    assert_eq!(world.core.disk_queue().unwrap().damaged, 1);
    world.finish();
    let lost = world.core.queue().lost;
    assert!(lost > 0, "{lost}");
    assert_eq!(world.cloud.handed.len() as u64 + lost, 12);
    assert_eq!(world.cloud.skipped, [fedecks_protocol::SkipReason::Damaged]);
}

#[test]
fn another_installation_and_another_device_get_nothing() {
    for restarts in [false, true] {
        let mut world = world();
        world.connect();
        world.disconnect();
        keep(&mut world, 3);
        world.rest();
        world.installation = InstallationId([2; 16]);
        if restarts {
            world.restart();
        }
        world.finish();
        assert_eq!((world.cloud.handed.len(), world.core.queue().lost), (0, 3));
        world.restart();
        world.finish();
        assert_eq!((world.cloud.handed.len(), world.core.queue().lost), (0, 0));
    }
    let mut world = world();
    keep(&mut world, 3);
    world.rest();
    world.device = "other".into();
    world.restart();
    world.finish();
    assert_eq!((world.cloud.handed.len(), world.core.queue().lost), (0, 3));
}

#[test]
fn the_backlog_of_a_copied_disk_is_removed_as_repeats() {
    let mut world = world();
    keep(&mut world, 10);
    world.rest();
    let copy = world.disk.0.borrow().clone();
    for round in 0..2 {
        world.finish();
        assert_eq!(world.cloud.handed.len(), 10 + round);
        keep(&mut world, 1);
        world.finish();
        *world.disk.0.borrow_mut() = copy.clone();
        world.restart();
    }
    world.finish();
    world.check();
    assert_eq!(world.cloud.handed.len(), 12);
}

#[test]
fn more_backlogs_than_streams_of_a_connection_arrive_in_order() {
    let mut world = world();
    for start in 1..=12 {
        keep(&mut world, 2);
        world.rest();
        assert_eq!(world.core.disk_queue().unwrap().messages, start * 2);
        world.restart();
        world.work();
    }
    world.finish();
    world.check();
    assert_eq!(world.cloud.handed.len(), 24);
    assert!(world.cloud.closed > 0);
    let places: Vec<_> = world.cloud.handed.iter().map(|(_, tag, _)| world.accepted[tag]).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_shutdown_writes_what_waits() {
    let mut world = world();
    world.connect();
    keep(&mut world, 3);
    world.core.handle_shutdown();
    world.run();
    world.work();
    assert_eq!((world.accepted.len(), world.refused.len()), (3, 0));
    world.restart();
    world.finish();
    assert_eq!(world.cloud.handed.len(), 3);
}
