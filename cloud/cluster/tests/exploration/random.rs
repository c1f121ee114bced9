//! Random orders of many events.

use crate::database::NODES;
use crate::rules::Rules;
use crate::world::{Action, World};

fn step(random: &mut fastrand::Rng, calm: bool) -> Action {
    let at = random.usize(..NODES);
    match random.u8(..if calm { 34 } else { 40 }) {
        0..=4 => Action::Tick,
        5..=11 => Action::Call(at),
        12..=19 => Action::Process(at),
        20..=25 => Action::Receive(at),
        26..=28 => Action::Begin(at),
        29 | 30 => Action::Commit(at),
        31 | 32 => Action::Committed(at),
        33 => Action::Resume,
        34 => Action::Lose(at),
        35 => Action::Delay(at),
        36 => Action::Stray(at),
        37 => Action::Pause,
        38 if random.bool() => Action::Restart,
        38 => Action::Jump(random.i64(-9..9)),
        _ => Action::Stray(at),
    }
}

#[test]
fn no_random_order_of_events_breaks_a_rule() {
    run(false);
}

#[test]
fn no_random_order_of_events_lets_two_nodes_lead() {
    run(true);
}

fn run(several: bool) {
    let runs = std::env::var("FEDECKS_RUNS").map_or(1_500, |it| it.parse().unwrap());
    let (mut steps, mut leases) = (0_u64, 0);
    for seed in 0..runs {
        let mut random = fastrand::Rng::with_seed(seed);
        let jumps = random.bool();
        let gate = !jumps || random.bool();
        let outages = random.bool();
        let lock = outages || jumps || random.bool();
        let mut world = World::new(Rules { lock, gate, outages, jumps, several });
        let mut stopped = None;
        for _ in 0..400 {
            if random.u8(..40) == 0 {
                stopped = random.bool().then(|| random.usize(..NODES));
            }
            if random.u8(..3) > 0 {
                // Most of the time, the others are in time.
                let mut order = [0, 1, 2];
                random.shuffle(&mut order);
                let order: Vec<_> = order.into_iter().filter(|at| stopped != Some(*at)).collect();
                world.run(&order);
                world.apply(Action::Tick);
                steps += 1;
            }
            let calm = random.u8(..4) > 0;
            let action = step(&mut random, calm);
            let of_stopped = match action {
                Action::Call(at) | Action::Receive(at) | Action::Begin(at) | Action::Commit(at) => {
                    stopped == Some(at)
                }
                _ => false,
            };
            steps += u64::from(!of_stopped && world.apply(action));
            assert_eq!(world.broken, None, "seed {seed}: {world:#?}");
        }
        leases += world.database.last_epoch;
        assert!(world.clone().finish().is_some(), "seed {seed}: {world:#?}");
    }
    println!("{steps} steps of {runs} runs, {leases} leases");
    assert!(leases > 2 * runs, "leases are taken over: {leases}");
}
