//! Every order of events in small: two streams, three messages and a few faults at any step.

use fedecks_protocol::Lane;
use stateright::{Checker, Model, Property};

use crate::parts::Action;
use crate::world::World;

struct Small {
    renews: bool,
    faults: u8,
}

/// The world, and how many faults it may still have.
type State = (World, u8);

impl Model for Small {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut world = World::new(self.renews);
        world.apply(Action::Connect);
        vec![(world, self.faults)]
    }

    fn actions(&self, (world, faults): &State, actions: &mut Vec<Action>) {
        match world.messages() {
            0 | 1 => actions.push(Action::Accept(Lane::Normal)),
            2 => actions.push(Action::Accept(Lane::Urgent)),
            _ => {}
        }
        actions.extend([Action::Transmit, Action::Answer]);
        for at in 0..world.sessions() {
            actions.extend([Action::Arrive(at), Action::Store(at), Action::Acknowledge(at)]);
        }
        if *faults > 0 {
            actions.extend(FAULTS);
        }
    }

    fn next_state(&self, (world, faults): &State, action: Action) -> Option<State> {
        let mut world = world.clone();
        let faults = faults - u8::from(FAULTS.contains(&action));
        world.apply(action).then_some((world, faults))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("kept", |_, (world, _): &State| {
            let mut end = world.clone();
            end.finish();
            end.ledger.failures().is_empty()
        })]
    }
}

const FAULTS: [Action; 10] = [
    Action::Connect,
    Action::CutUp,
    Action::CutDown,
    Action::KillSender,
    Action::KillReceiver,
    Action::BackUpSender,
    Action::RestoreSender,
    Action::RestoreReceiver,
    Action::WipeReceiver,
    Action::Expire(9),
];

#[test]
fn no_order_of_events_loses_doubles_or_reorders_a_message() {
    let target = std::env::var("FEDECKS_STATES").map_or(150_000, |it| it.parse().unwrap());
    for renews in [false, true] {
        let model = Small { renews, faults: 3 };
        let checker = model.checker().target_state_count(target).spawn_bfs().join();
        let (states, depth) = (checker.unique_state_count(), checker.max_depth());
        println!("{states} states to depth {depth}, streams renewed at each start: {renews}");
        assert!(states > 1_000);
        if let Some(path) = checker.discovery("kept") {
            let mut end = path.last_state().0.clone();
            end.finish();
            panic!("{:#?}: {:#?}", path.into_actions(), end.ledger.failures());
        }
    }
}
