//! Every order of events around a takeover: one node was stopped for some time, with or without a transaction.

use stateright::{Checker, Model, Property};

use crate::rules::Rules;
use crate::world::{Action, World};

struct Small {
    rules: Rules,
    /// How many nodes act; the others are stopped.
    nodes: usize,
    faults: &'static [Action],
    /// How many of these may happen, and how many ticks.
    bounds: (u8, u64),
}

/// The world, how many faults it may still have, and when it ends.
type State = (World, u8, u64);

impl Model for Small {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut states = vec![(World::new(self.rules), self.bounds.0, self.bounds.1)];
        for (stopped, writes) in (2..=8).flat_map(|ticks| [0, 1, 2].map(|stage| (ticks, stage))) {
            let mut world = World::new(self.rules);
            world.pass(&[0, 1, 2], 6);
            // Its last renewal was 0 to 2 ticks ago.
            world.pass(&[1, 2], stopped.min(3));
            if writes > 0 {
                world.apply(Action::Begin(0));
            }
            if writes > 1 {
                world.apply(Action::Commit(0));
            }
            world.pass(&[1, 2], stopped.saturating_sub(3));
            let end = world.now + self.bounds.1;
            states.push((world, self.bounds.0, end));
        }
        states
    }

    fn actions(&self, (world, faults, end): &State, actions: &mut Vec<Action>) {
        for at in 0..self.nodes {
            actions.extend([Action::Call(at), Action::Process(at), Action::Receive(at)]);
            actions.push(Action::Stray(at));
        }
        // The one that may be replaced, and one that may replace it.
        for at in 0..2 {
            actions.extend([Action::Begin(at), Action::Commit(at), Action::Committed(at)]);
        }
        actions.push(Action::Resume);
        if world.now < *end {
            actions.push(Action::Tick);
        }
        if *faults > 0 {
            actions.extend(self.faults);
        }
    }

    fn next_state(&self, (world, faults, end): &State, action: Action) -> Option<State> {
        let is_fault = self.faults.contains(&action);
        let mut world = world.clone();
        let done = world.apply(action);
        done.then_some((world, faults - u8::from(is_fault), *end))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("rules are kept", |_, (world, _, _): &State| world.broken.is_none()),
            Property::always("one serves in the end", |_, (world, _, _): &State| {
                world.clone().finish().is_some()
            }),
        ]
    }
}

const FAULTS: [Action; 11] = [
    Action::Pause,
    Action::Restart,
    Action::Jump(-9),
    Action::Jump(3),
    Action::Jump(9),
    Action::Lose(0),
    Action::Lose(1),
    Action::Lose(2),
    Action::Delay(0),
    Action::Delay(1),
    Action::Delay(2),
];

/// Returns the rule that is broken in some order, with the order.
fn explore(rules: Rules, nodes: usize, faults: &'static [Action]) -> Option<String> {
    let target = std::env::var("FEDECKS_STATES").map_or(150_000, |it| it.parse().unwrap());
    let model = Small { rules, nodes, faults, bounds: (2, 5) };
    let checker = model.checker().target_state_count(target).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{states} states to depth {depth}, {nodes} nodes: {rules:?}");
    assert!(states > 1_000);
    let (name, path) = checker.discoveries().into_iter().next()?;
    let world = path.last_state().0.clone();
    Some(format!("{name}, {:?}: {world:#?} after {:#?}", world.broken, path.into_actions()))
}

fn is_kept(rules: Rules) {
    for nodes in [2, 3] {
        assert_eq!(explore(rules, nodes, &FAULTS), None);
    }
}

const ALL: Rules = Rules { lock: true, gate: true, outages: true, jumps: true, several: false };

#[test]
fn no_order_of_events_breaks_a_rule_while_clocks_are_right() {
    is_kept(Rules { jumps: false, ..ALL });
}

#[test]
fn the_lock_is_enough_even_without_any_clock() {
    is_kept(Rules { gate: false, ..ALL });
    is_kept(ALL);
}

#[test]
fn of_several_nodes_one_leads_in_any_order_of_events() {
    is_kept(Rules { jumps: false, several: true, ..ALL });
    is_kept(Rules { several: true, ..ALL });
}

#[test]
fn a_leader_that_was_stopped_commits_late_only_without_the_lock() {
    for lock in [true, false] {
        let mut world = World::new(Rules { lock, jumps: false, several: true, ..ALL });
        world.pass(&[0, 1, 2], 6);
        world.pass(&[1, 2], 3);
        assert!(world.apply(Action::Begin(0)) && world.apply(Action::Commit(0)));
        world.pass(&[1, 2], 1);
        world.apply(Action::Pause);
        for _ in 0..3 {
            world.apply(Action::Tick);
        }
        world.apply(Action::Resume);
        world.run(&[1]);
        assert!(world.apply(Action::Committed(0)));
        let late = Some("committed after the lease had ended").filter(|_| !lock);
        assert_eq!(world.broken, late, "{world:#?}");
        world.run(&[1]);
        assert!(!world.database.holds(0, 1), "{world:#?}");
    }
}

#[test]
fn the_gate_is_enough_while_the_database_runs_steadily() {
    is_kept(Rules { lock: false, outages: false, jumps: false, ..ALL });
}

#[test]
fn the_gate_alone_is_not_enough_with_outages() {
    // So the exploration finds what the lock is there for.
    let found = explore(Rules { lock: false, jumps: false, ..ALL }, 2, &[Action::Pause]);
    let found = found.unwrap_or_default();
    assert!(found.contains("committed after the lease had ended"), "{found}");
}
