//! Connections of one device to three nodes, whose clocks differ, with a database that gives fences and may be away.

use fedecks_cluster::newest::{Claim, Closing, DeviceConnection, Stamp};
use stateright::{Checker, Model, Property};

use crate::database::NODES;

/// What the clocks of the nodes are ahead.
const AHEAD: [u64; NODES] = [0, 60, 30];

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: u64,
    away: bool,
    /// The greatest fence, which is that of the connection registered last.
    fence: u64,
    /// Which session that is.
    newest: Option<usize>,
    sessions: Vec<Session>,
    broken: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Session {
    node: usize,
    /// Nothing once it is closed.
    connection: Option<DeviceConnection>,
    /// The fence that the database has given, on its way to the node.
    given: Option<u64>,
    registering: bool,
    /// The place of its first registration among those of all.
    place: Option<u64>,
    /// With the fence that the node had.
    write: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    /// The device connects to this node.
    Connect(usize),
    /// The database registers a session.
    Register(usize),
    /// Its node gets the fence.
    Registered(usize),
    /// A node learns of a session of another one, or of the same one.
    Hear(usize, usize),
    /// A session sends a write, and the database handles it.
    Write(usize),
    Written(usize),
    /// The node's lease was lost, so that it has to register the session again.
    Unregister(usize),
    Away,
    Back,
}

impl World {
    fn apply(&mut self, action: Action) -> Option<()> {
        match action {
            Action::Connect(node) => {
                self.now += 1;
                let stamp = Stamp { at: self.now + AHEAD[node], node: node as u64 };
                let connection = Some(DeviceConnection::new(stamp));
                self.sessions.push(Session {
                    node,
                    connection,
                    given: None,
                    registering: true,
                    place: None,
                    write: None,
                });
            }
            Action::Register(at) => {
                let session = self.sessions.get_mut(at).filter(|it| it.registering)?;
                (!self.away).then_some(())?;
                session.registering = false;
                let connection = session.connection.as_mut()?;
                if connection.registers_again() && self.newest != Some(at) {
                    connection.on_outdated();
                    session.connection = None;
                    return Some(());
                }
                self.fence += 1;
                self.newest = Some(at);
                session.place = session.place.or(Some(self.fence));
                session.given = Some(self.fence);
            }
            Action::Registered(at) => {
                let session = self.sessions.get_mut(at)?;
                let fence = session.given.take()?;
                session.connection.as_mut()?.on_registered(fence);
            }
            Action::Hear(at, of) => {
                let place = self.sessions.get(of)?.place;
                let other: Claim = self.sessions.get(of)?.connection.as_ref()?.claim();
                let away = self.away;
                let session = self.sessions.get_mut(at).filter(|_| at != of)?;
                let connection = session.connection.as_mut()?;
                let own = connection.claim();
                match connection.on_other(other, away)? {
                    Closing::Replaced if own.fence == Some(self.fence) => {
                        self.broken = Some("the newest learned that it was replaced");
                    }
                    Closing::Replaced if session.place > place => {
                        self.broken = Some("replaced by an older one");
                    }
                    Closing::Restart if !away => {
                        self.broken = Some("closed by a stamp while there is a database");
                    }
                    _ => {}
                }
                session.connection = None;
            }
            Action::Write(at) => {
                let session = self.sessions.get_mut(at).filter(|it| it.write.is_none())?;
                session.write = Some(session.connection.as_ref()?.writes_with()?);
            }
            Action::Written(at) => {
                let session = self.sessions.get_mut(at)?;
                (!self.away).then_some(())?;
                let fence = session.write.take()?;
                // The row has the fence, and after it was registered again another one: then it is sent again.
                if fence != self.fence && self.newest != Some(at) {
                    session.connection.as_mut()?.on_outdated();
                    session.connection = None;
                }
            }
            Action::Unregister(at) => {
                let session = self.sessions.get_mut(at)?;
                let connection = session.connection.as_mut()?;
                // Once the answer to a registration is lost, the next one counts as the first.
                if session.given.take().is_some() && !connection.registers_again() {
                    session.place = None;
                }
                connection.on_lease_lost();
                session.registering = true;
            }
            Action::Away => (!std::mem::replace(&mut self.away, true)).then_some(())?,
            Action::Back => std::mem::take(&mut self.away).then_some(())?,
        }
        Some(())
    }

    /// Those whose writes the database would accept now.
    fn accepted(&self) -> usize {
        let connections = self.sessions.iter().filter_map(|it| it.connection.as_ref());
        connections.filter(|it| it.writes_with() == Some(self.fence)).count()
    }

    /// Everyone registers, and learns of everyone. One session is left if any was, the one registered last.
    fn settles(&self) -> bool {
        let mut world = self.clone();
        world.away = false;
        let open = world.sessions.iter().filter(|it| it.connection.is_some());
        let all_registered = open.clone().all(|it| it.place.is_some());
        let (open, before) = (open.count(), world.newest);
        for at in 0..world.sessions.len() {
            if world.sessions[at].connection.is_some() {
                world.apply(Action::Register(at));
                world.apply(Action::Registered(at));
            }
        }
        for at in 0..world.sessions.len() {
            world.apply(Action::Written(at));
            world.apply(Action::Write(at));
            world.apply(Action::Written(at));
        }
        for (at, of) in pairs(world.sessions.len()) {
            world.apply(Action::Hear(at, of));
        }
        let has = |at: usize| world.sessions[at].connection.is_some();
        if all_registered && before.is_some_and(|at| self.sessions[at].connection.is_some()) {
            return (0..world.sessions.len()).all(|at| has(at) == (before == Some(at)));
        }
        let left: Vec<_> = world.sessions.iter().filter_map(|it| it.connection.as_ref()).collect();
        let fences: Vec<_> = left.iter().map(|it| it.writes_with()).collect();
        match &fences[..] {
            // The one registered last has gone already.
            [] => open == 0 || world.sessions.iter().any(|it| it.connection.is_none()),
            [fence] => *fence == Some(world.fence),
            _ => false,
        }
    }
}

fn pairs(sessions: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..sessions).flat_map(move |at| (0..sessions).map(move |of| (at, of)))
}

struct Small;

/// The world, and how often the database may still go away or a session be unregistered.
type State = (World, u8);

impl Model for Small {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let sessions = Vec::new();
        vec![(World { now: 0, away: false, fence: 0, newest: None, sessions, broken: None }, 2)]
    }

    fn actions(&self, (world, faults): &State, actions: &mut Vec<Action>) {
        let sessions = world.sessions.len();
        if sessions < 3 {
            actions.extend((0..NODES).map(Action::Connect));
        }
        for at in 0..sessions {
            actions.extend([Action::Register(at), Action::Registered(at)]);
            actions.extend([Action::Write(at), Action::Written(at)]);
            if *faults > 0 {
                actions.push(Action::Unregister(at));
            }
        }
        actions.extend(pairs(sessions).map(|(at, of)| Action::Hear(at, of)));
        actions.push(Action::Back);
        if *faults > 0 {
            actions.push(Action::Away);
        }
    }

    fn next_state(&self, (world, faults): &State, action: Action) -> Option<State> {
        let is_fault = matches!(action, Action::Away | Action::Unregister(_));
        let mut world = world.clone();
        world.apply(action)?;
        Some((world, faults - u8::from(is_fault)))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("told right", |_, (world, _): &State| world.broken.is_none()),
            Property::always("one writes", |_, (world, _): &State| world.accepted() <= 1),
            Property::always("settles", |_, (world, _): &State| world.settles()),
        ]
    }
}

#[test]
fn the_connection_that_writes_has_the_greatest_fence() {
    let target = std::env::var("FEDECKS_STATES").map_or(600_000, |it| it.parse().unwrap());
    let checker = Small.checker().target_state_count(target).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{states} states of connections to depth {depth}");
    assert!(states > 1_000);
    if let Some((name, path)) = checker.discoveries().into_iter().next() {
        panic!("{name}: {:#?} after {:#?}", path.last_state().clone(), path.into_actions());
    }
}
