//! Gaps, snapshots and newest connections, without a network.

use super::*;

const ME: Instance = Instance(1);
const PEER: Instance = Instance(2);
const OTHER: Instance = Instance(3);

fn fleet() -> Fleet {
    Fleet::new(ME, Duration::from_secs(10), Duration::from_secs(2))
}

fn presence(device: &str, stamp: u64, node: u64) -> Arc<Presence> {
    let connection = ConnectionId::from_parts(stamp, NodeId(node));
    Arc::new(Presence::new(DeviceId::new(device).unwrap(), connection))
}

fn arrived(device: &str, stamp: u64) -> Change {
    Change::Arrived(presence(device, stamp, 2))
}

fn left(device: &str, stamp: u64) -> Change {
    Change::Left(presence(device, stamp, 2))
}

fn names(fleet: &Fleet) -> Vec<String> {
    let mut names: Vec<_> = fleet.all().iter().map(|one| one.device.to_string()).collect();
    names.sort();
    names
}

fn part(nonce: u64, sequence: u64, index: u32, last: bool, devices: &[(&str, u64)]) -> Part {
    let devices = devices.iter().map(|(device, stamp)| presence(device, *stamp, 2)).collect();
    Part { from: PEER, nonce, sequence, index, last, devices }
}

#[test]
fn changes_without_a_gap_apply_at_once() {
    let (mut fleet, mut effects, now) = (fleet(), Effects::default(), Instant::now());
    fleet.heartbeat(PEER, 0, now, &mut effects);
    fleet.changes(PEER, 1, vec![arrived("a", 1), arrived("b", 2)], now, &mut effects);
    fleet.changes(PEER, 2, vec![left("a", 1)], now, &mut effects);
    fleet.heartbeat(PEER, 2, now, &mut effects);
    // What arrives twice has no effect.
    fleet.changes(PEER, 1, vec![arrived("a", 1)], now, &mut effects);
    assert_eq!(names(&fleet), ["b"]);
    assert_eq!(effects.events.len(), 3, "{:?}", effects.events);
    assert_eq!((effects.ask.len(), effects.resyncs), (0, 0));
    assert_eq!(effects.newest.unwrap().stamp(), 2);
}

#[test]
fn after_a_gap_a_snapshot_and_what_follows_it_apply() {
    let (mut fleet, mut effects, now) = (fleet(), Effects::default(), Instant::now());
    fleet.changes(PEER, 1, vec![arrived("a", 1), arrived("b", 2)], now, &mut effects);
    fleet.changes(PEER, 3, vec![arrived("d", 4)], now, &mut effects);
    assert_eq!(effects.ask, [(PEER, 1)]);
    fleet.changes(PEER, 4, vec![arrived("e", 5)], now, &mut effects);
    fleet.changes(PEER, 5, vec![left("c", 3)], now, &mut effects);
    assert_eq!(names(&fleet), ["a", "b"], "held until the snapshot is there");
    fleet.part(part(1, 4, 0, false, &[("b", 2), ("c", 3)]), now, &mut effects);
    assert_eq!(names(&fleet), ["a", "b"], "not complete");
    fleet.part(part(1, 4, 1, true, &[("d", 4), ("e", 5)]), now, &mut effects);
    assert_eq!(names(&fleet), ["b", "d", "e"]);
    fleet.heartbeat(PEER, 5, now, &mut effects);
    assert_eq!((effects.ask.len(), effects.resyncs), (1, 1));
}

#[test]
fn a_gap_behind_the_snapshot_asks_for_another() {
    let (mut fleet, mut effects, now) = (fleet(), Effects::default(), Instant::now());
    fleet.heartbeat(PEER, 7, now, &mut effects);
    fleet.changes(PEER, 9, vec![arrived("c", 3)], now, &mut effects);
    fleet.part(part(1, 7, 0, true, &[("a", 1)]), now, &mut effects);
    assert_eq!(effects.ask, [(PEER, 1), (PEER, 2)]);
    fleet.part(part(2, 9, 0, true, &[("a", 1), ("b", 2), ("c", 3)]), now, &mut effects);
    assert_eq!(names(&fleet), ["a", "b", "c"]);
}

#[test]
fn an_unanswered_question_is_asked_again() {
    let (mut fleet, mut effects, start) = (fleet(), Effects::default(), Instant::now());
    fleet.heartbeat(PEER, 7, start, &mut effects);
    fleet.part(part(1, 7, 0, false, &[("a", 1)]), start, &mut effects);
    // Part 1 is lost.
    fleet.part(part(1, 7, 2, true, &[("c", 3)]), start, &mut effects);
    assert!(names(&fleet).is_empty());
    fleet.tick(true, start + Duration::from_secs(1), &mut effects);
    assert_eq!(effects.ask, [(PEER, 1)]);
    fleet.tick(true, start + Duration::from_secs(2), &mut effects);
    assert_eq!(effects.ask, [(PEER, 1), (PEER, 2)]);
    fleet.part(part(1, 7, 0, true, &[("late", 1)]), start, &mut effects);
    assert!(names(&fleet).is_empty(), "the answer to the first question is too late");
    fleet.part(part(2, 8, 0, true, &[("a", 1)]), start, &mut effects);
    assert_eq!(names(&fleet), ["a"]);
}

#[test]
fn held_changes_are_bounded() {
    let (mut fleet, mut effects, now) = (fleet(), Effects::default(), Instant::now());
    fleet.heartbeat(PEER, 1, now, &mut effects);
    for sequence in 2..MAX_HELD as u64 + 2 {
        fleet.changes(PEER, sequence, Vec::new(), now, &mut effects);
        fleet.changes(PEER, sequence, vec![left("a", 1)], now, &mut effects);
    }
    let held = &fleet.peers[&PEER].resync.as_ref().unwrap().held;
    assert!(held.len() <= MAX_HELD, "{}", held.len());
    assert!(effects.resyncs > 1);
}

#[test]
fn the_devices_of_a_silent_peer_leave() {
    let (mut fleet, mut effects, start) = (fleet(), Effects::default(), Instant::now());
    fleet.changes(PEER, 1, vec![arrived("a", 1)], start, &mut effects);
    fleet.heartbeat(OTHER, 0, start + Duration::from_secs(5), &mut effects);
    fleet.tick(true, start + Duration::from_secs(9), &mut effects);
    assert_eq!(names(&fleet), ["a"]);
    effects.events.clear();
    fleet.tick(true, start + Duration::from_secs(10), &mut effects);
    assert!(names(&fleet).is_empty());
    assert_eq!((effects.gone, fleet.peers()), (vec![PEER], 1));
    let lost = LostNode::new(NodeId(2), vec![presence("a", 1, 2)]);
    assert_eq!(effects.events, [PresenceEvent::NodeLost(Arc::new(lost))]);
}

#[test]
fn silence_without_a_link_means_nothing() {
    let (mut fleet, mut effects, start) = (fleet(), Effects::default(), Instant::now());
    fleet.changes(PEER, 1, vec![arrived("a", 1)], start, &mut effects);
    fleet.tick(false, start + Duration::from_secs(60), &mut effects);
    fleet.tick(true, start + Duration::from_secs(69), &mut effects);
    assert_eq!(names(&fleet), ["a"]);
    fleet.tick(true, start + Duration::from_secs(70), &mut effects);
    assert!(names(&fleet).is_empty());
}

#[test]
fn the_newest_connection_stays_whoever_is_heard_first() {
    let (mut fleet, mut effects, now) = (fleet(), Effects::default(), Instant::now());
    // The older one is ours.
    assert!(fleet.register(&presence("a", 1, 1), &mut effects));
    fleet.changes(PEER, 1, vec![arrived("a", 2)], now, &mut effects);
    assert_eq!(effects.newer, [(NodeId(1), presence("a", 2, 2))]);
    assert!(!fleet.unregister(&presence("a", 1, 1), &mut effects));
    // The newer one is ours.
    assert!(fleet.register(&presence("b", 4, 1), &mut effects));
    fleet.changes(PEER, 2, vec![arrived("b", 3), left("b", 3)], now, &mut effects);
    assert_eq!(effects.newer.len(), 1);
    // The newer one is known when ours comes.
    assert!(!fleet.register(&presence("a", 1, 1), &mut effects));
    assert_eq!(effects.newer[1], (NodeId(1), presence("a", 2, 2)));
    assert_eq!(fleet.own(), [presence("b", 4, 1)]);
    let connections: HashSet<_> = fleet.all().iter().map(|one| one.connection.stamp()).collect();
    assert_eq!(connections, HashSet::from([2, 4]));
}

#[test]
fn a_node_leaves_without_the_others_of_its_instance() {
    let (mut fleet, mut effects, now) = (fleet(), Effects::default(), Instant::now());
    let other = Change::Arrived(presence("b", 2, 20));
    fleet.changes(PEER, 1, vec![arrived("a", 1), other], now, &mut effects);
    fleet.changes(PEER, 2, vec![Change::NodeLeft(NodeId(2))], now, &mut effects);
    assert_eq!(names(&fleet), ["b"]);
    fleet.bye(PEER, &mut effects);
    assert!(names(&fleet).is_empty());
}
