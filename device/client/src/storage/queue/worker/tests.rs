//! The core, this worker and the real queue on a simulated disk, with a cloud: power cuts at any time lose nothing
//! that was accepted as on disk, and deliver nothing twice. `FEDECKS_DISK_KILLS` is how many power cuts.

mod cloud;
mod scenarios;
#[path = "../../../../../queue/tests/crashes/simulated_disk.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the queue")]
mod simulated_disk;
mod world;

use self::world::World;

#[test]
fn what_is_on_disk_is_handed_over_once_or_reported_lost() {
    let kills: u64 = std::env::var("FEDECKS_DISK_KILLS").map_or(5_000, |it| it.parse().unwrap());
    let first: u64 = std::env::var("FEDECKS_DISK_SEED")
        .map_or_else(|_| fastrand::u64(..1 << 40), |seed| seed.parse().unwrap());
    println!("FEDECKS_DISK_SEED={first}");
    let (mut done, mut handed, mut lost, mut accepted) = (0, 0, 0, 0);
    for seed in first.. {
        let mut world = World::new(seed);
        for _ in 0..10 {
            world.live();
            world.power_cut();
            done += 1;
        }
        world.finish();
        world.check();
        handed += world.cloud.handed.len();
        lost += world.lost.len();
        accepted += world.accepted.len();
        if done >= kills {
            break;
        }
    }
    println!(
        "{done} power cuts: {accepted} accepted on disk, {handed} handed over, {lost} reported lost"
    );
    assert!(handed > 0 && lost > 0 && accepted > 0);
}
