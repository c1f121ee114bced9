//! Whatever the database does, a node that lives keeps its lease.

use std::collections::HashSet;

use crate::database::NODES;
use crate::rules::Rules;
use crate::world::{Action, World};

#[test]
fn the_database_alone_takes_no_lease_away() {
    let rules = Rules { lock: true, gate: true, outages: true, jumps: true, several: false };
    let mut world = World::new(rules);
    world.pass(&[0, 1, 2], 8);
    let holder = (0..NODES).find(|at| world.serves(*at).is_some()).unwrap();
    let faults = [
        None,
        Some(Action::Pause),
        Some(Action::Resume),
        Some(Action::Restart),
        Some(Action::Jump(-9)),
        Some(Action::Jump(3)),
        Some(Action::Jump(30)),
    ];
    let (mut seen, mut next) = (HashSet::new(), vec![(world, 3)]);
    let mut last = 0;
    for _ in 0..14 {
        for (world, left) in std::mem::take(&mut next) {
            for fault in faults {
                let is_fault = !matches!(fault, None | Some(Action::Resume));
                if is_fault && left == 0 {
                    continue;
                }
                let mut world = world.clone();
                if fault.is_none_or(|fault| world.apply(fault)) {
                    // In any order.
                    for order in [[0, 1, 2], [2, 1, 0]] {
                        let mut world = world.clone();
                        world.run(&order);
                        world.apply(Action::Tick);
                        assert!(world.database.holds(holder, 1), "{fault:?}: {world:#?}");
                        let state = (world, left - i32::from(is_fault));
                        if seen.insert(state.clone()) {
                            next.push(state);
                        }
                    }
                }
            }
        }
        last = next.len();
    }
    println!("{} states", seen.len());
    assert!(last > 0);
    for (world, _) in next {
        let mut world = world;
        assert_eq!(world.finish(), Some(holder), "{world:#?}");
    }
}
