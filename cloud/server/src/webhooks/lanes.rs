//! The order of deliveries: one at a time for each device.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// What waits to be delivered: a lane for each device, of which only the first one may be on its way,
/// and those of other devices beside it. Knows numbers only; what they stand for is in the store.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<String, Lane>,
    /// Lanes whose first one may go now, in the order in which they came to that.
    ready: BTreeSet<(u64, String)>,
    /// The place of the next lane in that order.
    turn: u64,
    /// Lanes that wait after a failure.
    waiting: BTreeSet<(Instant, String)>,
    /// Of each that waits: its number with its lane, the oldest first.
    order: BTreeSet<(u64, String)>,
    /// How many bytes of the store all of them take.
    bytes: u64,
}

#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Waiting>,
    state: State,
    failures: u32,
}

/// One that waits in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Its number.
    pub(super) sequence: u64,
    /// How many bytes of it are delivered.
    pub(super) bytes: u64,
    /// When it was put there, in seconds since 1970-01-01 UTC.
    pub(super) at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// With its place in the order.
    Ready(u64),
    Underway,
    Until(Instant),
}

/// The first of a lane, which is on its way now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) lane: String,
    pub(super) sequence: u64,
    /// When it was put into the store, in seconds since 1970-01-01 UTC.
    pub(super) at: u64,
}

/// The wait after a first failure; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

impl Lanes {
    /// Puts one at the end of its lane.
    pub(super) fn add(&mut self, lane: String, waiting: Waiting) {
        self.order.insert((waiting.sequence, lane.clone()));
        self.bytes += waiting.bytes;
        if !self.lanes.contains_key(&lane) {
            let state = self.make_ready(lane.clone());
            self.lanes.insert(lane.clone(), Lane { waiting: VecDeque::new(), state, failures: 0 });
        }
        let Some(known) = self.lanes.get_mut(&lane) else { return };
        known.waiting.push_back(waiting);
    }

    /// The next that may go now. It is on its way until [`Lanes::done`] or [`Lanes::failed`].
    pub(super) fn take(&mut self, now: Instant) -> Option<Next> {
        while let Some((due, _)) = self.waiting.first() {
            if *due > now {
                break;
            }
            if let Some((_, lane)) = self.waiting.pop_first() {
                let state = self.make_ready(lane.clone());
                if let Some(known) = self.lanes.get_mut(&lane) {
                    known.state = state;
                }
            }
        }
        while let Some((_, lane)) = self.ready.pop_first() {
            let Some(known) = self.lanes.get_mut(&lane) else { continue };
            if let Some(Waiting { sequence, at, .. }) = known.waiting.front().copied() {
                known.state = State::Underway;
                return Some(Next { lane, sequence, at });
            }
        }
        None
    }

    /// The first of the lane is delivered, or given up.
    pub(super) fn done(&mut self, lane: &str) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        if let Some(Waiting { sequence, bytes, .. }) = known.waiting.pop_front() {
            self.order.remove(&(sequence, lane.to_owned()));
            self.bytes -= bytes;
        }
        if known.waiting.is_empty() {
            self.lanes.remove(lane);
            return;
        }
        let state = self.make_ready(lane.to_owned());
        if let Some(known) = self.lanes.get_mut(lane) {
            known.state = state;
            known.failures = 0;
        }
    }

    /// The first of the lane was not taken: it goes again after a wait that doubles each time.
    /// `random`, from 0 to 1, spreads it.
    pub(super) fn failed(&mut self, lane: &str, now: Instant, random: f64) -> Duration {
        let Some(known) = self.lanes.get_mut(lane) else { return Duration::ZERO };
        let doubled = FIRST_WAIT.saturating_mul(1 << known.failures.min(16)).min(LONGEST_WAIT);
        known.failures = known.failures.saturating_add(1);
        let wait = doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.hold(lane, now + wait);
        wait
    }

    /// The first of the lane, which is on its way, goes again at that moment.
    pub(super) fn hold(&mut self, lane: &str, until: Instant) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        known.state = State::Until(until);
        self.waiting.insert((until, lane.to_owned()));
    }

    /// Gives up the oldest that is not on its way; its number.
    pub(super) fn drop_oldest(&mut self) -> Option<u64> {
        let underway = |lane: &str, sequence: u64| {
            self.lanes.get(lane).is_some_and(|known| {
                known.state == State::Underway
                    && known.waiting.front().is_some_and(|first| first.sequence == sequence)
            })
        };
        let (sequence, lane) =
            self.order.iter().find(|(sequence, lane)| !underway(lane, *sequence)).cloned()?;
        self.order.remove(&(sequence, lane.clone()));
        let known = self.lanes.get_mut(&lane)?;
        let place = known.waiting.iter().position(|waiting| waiting.sequence == sequence)?;
        self.bytes -= known.waiting.remove(place)?.bytes;
        if known.waiting.is_empty() {
            match known.state {
                State::Until(due) => drop(self.waiting.remove(&(due, lane.clone()))),
                State::Ready(turn) => drop(self.ready.remove(&(turn, lane.clone()))),
                State::Underway => {}
            }
            self.lanes.remove(&lane);
        }
        Some(sequence)
    }

    /// Puts a lane behind those that may go.
    fn make_ready(&mut self, lane: String) -> State {
        self.turn += 1;
        self.ready.insert((self.turn, lane));
        State::Ready(self.turn)
    }

    /// When the next lane has waited long enough.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// How many wait or are on their way.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many bytes of the store they take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(sequence: u64) -> Waiting {
        Waiting { sequence, bytes: 10 + sequence, at: 0 }
    }

    fn lanes(of: &[(&str, u64)]) -> Lanes {
        let mut lanes = Lanes::default();
        for (lane, sequence) in of {
            lanes.add((*lane).to_owned(), waiting(*sequence));
        }
        lanes
    }

    /// The numbers that may go.
    fn take_all(lanes: &mut Lanes, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| lanes.take(now)).map(|next| next.sequence).collect()
    }

    #[test]
    fn one_of_each_lane_is_on_its_way_and_the_next_follows_it() {
        let now = Instant::now();
        let mut lanes = lanes(&[("a", 1), ("a", 2), ("b", 3), ("a", 4)]);
        assert_eq!(take_all(&mut lanes, now), [1, 3]);
        lanes.done("a");
        assert_eq!(take_all(&mut lanes, now), [2]);
        lanes.done("b");
        lanes.done("a");
        lanes.add("b".into(), waiting(5));
        assert_eq!(take_all(&mut lanes, now), [4, 5]);
        lanes.done("a");
        lanes.done("b");
        assert_eq!((lanes.len(), lanes.lanes.len(), lanes.bytes()), (0, 0, 0));
    }

    #[test]
    fn a_failure_holds_up_its_lane_alone_and_waits_double_and_at_most_five_minutes() {
        let now = Instant::now();
        let mut lanes = lanes(&[("a", 1), ("a", 2), ("b", 3)]);
        assert_eq!(take_all(&mut lanes, now), [1, 3]);
        lanes.done("b");
        let mut waits = Vec::new();
        let mut at = now;
        for _ in 0..12 {
            let wait = lanes.failed("a", at, 1.0);
            waits.push(wait.as_secs());
            assert_eq!(lanes.next_due(), Some(at + wait));
            assert!(take_all(&mut lanes, at + wait - Duration::from_millis(1)).is_empty());
            at += wait;
            assert_eq!(take_all(&mut lanes, at), [1]);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        lanes.done("a");
        assert_eq!(take_all(&mut lanes, at), [2]);
        assert_eq!(lanes.failed("a", at, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn what_is_held_goes_again_without_counting_as_a_failure() {
        let now = Instant::now();
        let mut lanes = lanes(&[("a", 1), ("b", 2)]);
        assert_eq!(take_all(&mut lanes, now), [1, 2]);
        lanes.hold("a", now + Duration::from_secs(9));
        assert_eq!(take_all(&mut lanes, now + Duration::from_secs(8)), [] as [u64; 0]);
        assert_eq!(take_all(&mut lanes, now + Duration::from_secs(9)), [1]);
        assert_eq!(lanes.failed("a", now, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn the_oldest_that_is_not_on_its_way_is_dropped() {
        let now = Instant::now();
        let mut lanes = lanes(&[("a", 1), ("b", 2), ("a", 3)]);
        assert_eq!(lanes.take(now).unwrap().sequence, 1);
        assert_eq!(lanes.bytes(), 11 + 12 + 13);
        assert_eq!(lanes.drop_oldest(), Some(2));
        assert_eq!(lanes.bytes(), 11 + 13);
        assert_eq!(lanes.drop_oldest(), Some(3));
        assert_eq!(lanes.drop_oldest(), None);
        assert_eq!((lanes.len(), lanes.bytes()), (1, 11));
        lanes.failed("a", now, 1.0);
        assert_eq!(lanes.drop_oldest(), Some(1));
        assert_eq!((lanes.len(), lanes.bytes(), lanes.next_due()), (0, 0, None));
        lanes.done("a");
        lanes.add("b".into(), waiting(4));
        assert_eq!(take_all(&mut lanes, now), [4]);
    }

    #[test]
    fn nothing_is_left_of_what_was_dropped() {
        let mut lanes = Lanes::default();
        for sequence in 0..1000 {
            lanes.add(format!("lane-{}", sequence % 7), waiting(sequence));
            while lanes.len() > 3 {
                lanes.drop_oldest().unwrap();
            }
        }
        assert!(lanes.lanes.len() <= 3 && lanes.ready.len() <= 3, "{lanes:?}");
    }
}
