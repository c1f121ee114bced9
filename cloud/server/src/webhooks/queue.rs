//! The order of deliveries: one at a time per device, several devices at once. It knows only numbers;
//! the events are in the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fedecks_common::Backoff;
use tokio::time::Instant;

/// What waits to be delivered, in one lane per device. Only the first of a lane may be in flight.
#[derive(Debug, Default)]
pub(super) struct DeliveryQueue {
    lanes: HashMap<Arc<str>, Lane>,
    /// Lanes whose first event may be sent now, in the order in which they became ready.
    ready: BTreeSet<(u64, Arc<str>)>,
    /// The position of the next lane in that order.
    turn: u64,
    /// Lanes that wait after a failure.
    waiting: BTreeSet<(Instant, Arc<str>)>,
    /// Every pending event with its lane, oldest first.
    order: BTreeMap<u64, Arc<str>>,
    /// About how many bytes of the store they take.
    bytes: u64,
}

#[derive(Debug)]
struct Lane {
    pending: VecDeque<Pending>,
    state: State,
    backoff: Backoff,
}

/// An event that waits in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Its number in the store.
    pub(super) sequence: u64,
    /// About how many bytes of the store it takes.
    pub(super) bytes: u64,
    /// When it was stored, in seconds since 1970-01-01 UTC.
    pub(super) at: u64,
    /// Since when this process has it.
    pub(super) since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// With its position in the order.
    Ready(u64),
    InFlight,
    Until(Instant),
}

/// The first event of a lane, which is in flight now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) lane: Arc<str>,
    pub(super) sequence: u64,
    /// When it was stored, in seconds since 1970-01-01 UTC.
    pub(super) at: u64,
    /// Since when this process has it.
    pub(super) since: Instant,
}

/// Between the attempts to deliver one event.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));

impl DeliveryQueue {
    /// Appends an event to its lane.
    pub(super) fn push(&mut self, lane: &str, pending: Pending) {
        let known = self.lanes.get_key_value(lane).map(|(name, _)| name.clone());
        let lane = known.unwrap_or_else(|| lane.into());
        self.order.insert(pending.sequence, lane.clone());
        self.bytes += pending.bytes;
        if let Some(known) = self.lanes.get_mut(&lane) {
            known.pending.push_back(pending);
            return;
        }
        let (pending, state) = ([pending].into(), State::Ready(self.turn));
        self.lanes.insert(lane.clone(), Lane { pending, state, backoff: BACKOFF });
        self.make_ready(lane);
    }

    /// The next event that may be sent. It is in flight until [`DeliveryQueue::done`],
    /// [`DeliveryQueue::failed`] or [`DeliveryQueue::hold`].
    pub(super) fn pop(&mut self, now: Instant) -> Option<Delivery> {
        self.make_due_ready(now);
        while let Some((_, lane)) = self.ready.pop_first() {
            let Some(known) = self.lanes.get_mut(&lane) else { continue };
            if let Some(Pending { sequence, at, since, .. }) = known.pending.front().copied() {
                known.state = State::InFlight;
                return Some(Delivery { lane, sequence, at, since });
            }
        }
        None
    }

    /// The size of the event that [`DeliveryQueue::pop`] would return.
    pub(super) fn next_bytes(&mut self, now: Instant) -> Option<u64> {
        self.make_due_ready(now);
        let (_, lane) = self.ready.first()?;
        self.lanes.get(lane)?.pending.front().map(|pending| pending.bytes)
    }

    /// The first event of the lane is delivered or given up.
    pub(super) fn done(&mut self, lane: &str) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        if let Some(Pending { sequence, bytes, .. }) = known.pending.pop_front() {
            self.order.remove(&sequence);
            self.bytes -= bytes;
        }
        if known.pending.is_empty() {
            self.lanes.remove(lane);
            return;
        }
        known.backoff.reset();
        self.make_ready(lane.into());
    }

    /// The first event of the lane was not accepted: it is retried after the returned delay. `random`,
    /// from 0 to 1, is the jitter.
    pub(super) fn failed(&mut self, lane: &str, now: Instant, random: f64) -> Duration {
        let Some(known) = self.lanes.get_mut(lane) else { return Duration::ZERO };
        let delay = known.backoff.next_delay().mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.hold(lane, now + delay);
        delay
    }

    /// The first event of the lane, which is in flight, is sent again at that time.
    pub(super) fn hold(&mut self, lane: &str, until: Instant) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        known.state = State::Until(until);
        self.waiting.insert((until, lane.into()));
    }

    /// Drops the oldest event that is not in flight, and returns its number.
    pub(super) fn drop_oldest(&mut self) -> Option<u64> {
        let in_flight = |lane: &str, sequence: u64| {
            self.lanes.get(lane).is_some_and(|known| {
                known.state == State::InFlight
                    && known.pending.front().is_some_and(|first| first.sequence == sequence)
            })
        };
        let mut order = self.order.iter();
        let (sequence, lane) = order.find(|(sequence, lane)| !in_flight(lane, **sequence))?;
        let (sequence, lane) = (*sequence, lane.clone());
        self.order.remove(&sequence);
        let known = self.lanes.get_mut(&lane)?;
        let place = known.pending.iter().position(|pending| pending.sequence == sequence)?;
        self.bytes -= known.pending.remove(place)?.bytes;
        if known.pending.is_empty() {
            match known.state {
                State::Until(due) => drop(self.waiting.remove(&(due, lane.clone()))),
                State::Ready(turn) => drop(self.ready.remove(&(turn, lane.clone()))),
                State::InFlight => {}
            }
            self.lanes.remove(&lane);
        }
        Some(sequence)
    }

    /// Makes the lanes ready that have waited long enough.
    fn make_due_ready(&mut self, now: Instant) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some((_, lane)) = self.waiting.pop_first() else { break };
            self.make_ready(lane);
        }
    }

    /// Puts a lane behind those that are ready.
    fn make_ready(&mut self, lane: Arc<str>) {
        let Some(known) = self.lanes.get_mut(&lane) else { return };
        self.turn += 1;
        known.state = State::Ready(self.turn);
        self.ready.insert((self.turn, lane));
    }

    /// When the next lane has waited long enough.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The number of pending events, including those in flight.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// About how many bytes of the store they take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    fn pending(sequence: u64) -> Pending {
        Pending { sequence, bytes: 10 + sequence, at: 0, since: Instant::now() }
    }

    fn queue(events: &[(&str, u64)]) -> (DeliveryQueue, Instant) {
        let mut queue = DeliveryQueue::default();
        for (lane, sequence) in events {
            queue.push(lane, pending(*sequence));
        }
        (queue, Instant::now())
    }

    /// The numbers of all that may be sent.
    fn pop_all(queue: &mut DeliveryQueue, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop(now)).map(|delivery| delivery.sequence).collect()
    }

    #[test]
    fn one_event_of_each_lane_is_in_flight_and_the_next_follows() {
        let (mut queue, now) = queue(&[("a", 1), ("a", 2), ("b", 3), ("a", 4)]);
        assert_eq!(pop_all(&mut queue, now), [1, 3]);
        queue.done("a");
        assert_eq!(pop_all(&mut queue, now), [2]);
        queue.done("b");
        queue.done("a");
        queue.push("b", pending(5));
        assert_eq!(pop_all(&mut queue, now), [4, 5]);
        queue.done("a");
        queue.done("b");
        assert_eq!((queue.len(), queue.lanes.len(), queue.bytes()), (0, 0, 0));
    }

    #[test]
    fn a_failure_delays_its_lane_alone_by_up_to_five_minutes() {
        let (mut queue, mut now) = queue(&[("a", 1), ("a", 2), ("b", 3)]);
        assert_eq!(pop_all(&mut queue, now), [1, 3]);
        queue.done("b");
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] {
            let delay = queue.failed("a", now, 1.0);
            assert_eq!(delay, Duration::from_secs(seconds));
            assert_eq!(queue.next_due(), Some(now + delay));
            assert_eq!(pop_all(&mut queue, now + delay - Duration::from_millis(1)), NONE);
            now += delay;
            assert_eq!(pop_all(&mut queue, now), [1]);
        }
        queue.done("a");
        assert_eq!(pop_all(&mut queue, now), [2]);
        assert_eq!(queue.failed("a", now, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn a_held_event_is_sent_again_without_counting_as_a_failure() {
        let (mut queue, now) = queue(&[("a", 1), ("b", 2)]);
        assert_eq!(pop_all(&mut queue, now), [1, 2]);
        queue.hold("a", now + Duration::from_secs(9));
        assert_eq!(pop_all(&mut queue, now + Duration::from_secs(8)), NONE);
        assert_eq!(pop_all(&mut queue, now + Duration::from_secs(9)), [1]);
        assert_eq!(queue.failed("a", now, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn the_oldest_event_that_is_not_in_flight_is_dropped() {
        let (mut queue, now) = queue(&[("a", 1), ("b", 2), ("a", 3)]);
        assert_eq!(queue.pop(now).unwrap().sequence, 1);
        assert_eq!(queue.bytes(), 11 + 12 + 13);
        assert_eq!((queue.drop_oldest(), queue.bytes()), (Some(2), 11 + 13));
        assert_eq!((queue.drop_oldest(), queue.drop_oldest()), (Some(3), None));
        assert_eq!((queue.len(), queue.bytes()), (1, 11));
        queue.failed("a", now, 1.0);
        assert_eq!(queue.drop_oldest(), Some(1));
        assert_eq!((queue.len(), queue.bytes(), queue.next_due()), (0, 0, None));
        queue.done("a");
        queue.push("b", pending(4));
        assert_eq!(pop_all(&mut queue, now), [4]);
    }

    #[test]
    fn nothing_is_left_of_dropped_events() {
        let mut queue = DeliveryQueue::default();
        for sequence in 0..1000 {
            queue.push(&format!("lane-{}", sequence % 7), pending(sequence));
            while queue.len() > 3 {
                queue.drop_oldest().unwrap();
            }
        }
        assert!(queue.lanes.len() <= 3 && queue.ready.len() <= 3, "{queue:?}");
    }
}
