//! The numbers of streams whose message was given up, as ranges. Without the database.

use std::collections::BTreeMap;

use fedecks_protocol::{Lane, SkipReason};

/// With more ranges than this in a stream, neighbours are merged even if their reasons differ: otherwise they were
/// only bounded by how often messages are given up.
const MAX_VOIDS: usize = 500;

/// The ranges of a device, by the number of their lane and their last number.
#[derive(Default)]
pub(super) struct Voids {
    before: Ranges,
    now: Ranges,
}

type Ranges = BTreeMap<(u64, u64), Void>;

/// Numbers without a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Void {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) reason: SkipReason,
}

impl Voids {
    /// A range that is stored.
    pub(super) fn push_stored(&mut self, lane: u64, void: Void) {
        self.before.insert((lane, void.last), void);
        self.now.insert((lane, void.last), void);
    }

    /// The first range that ends at this number or later.
    pub(super) fn from(&self, lane: Lane, number: u64) -> Option<Void> {
        let lane = lane.number();
        self.now.range((lane, number)..=(lane, u64::MAX)).next().map(|(_, void)| *void)
    }

    /// Remembers that a number has no message any more.
    pub(super) fn add(&mut self, lane: Lane, number: u64, reason: SkipReason) {
        let mut range = Void { first: number, last: number, reason };
        let of_lane = (lane.number(), 0)..=(lane.number(), u64::MAX);
        let is_crowded = self.now.range(of_lane).count() >= MAX_VOIDS;
        let neighbours =
            [self.from(lane, number.saturating_sub(1)), self.from(lane, number.saturating_add(1))];
        for neighbour in neighbours.into_iter().flatten() {
            let touches = neighbour.last.saturating_add(1) == range.first
                || range.last.saturating_add(1) == neighbour.first;
            if touches && (neighbour.reason == range.reason || is_crowded) {
                self.now.remove(&(lane.number(), neighbour.last));
                range.first = range.first.min(neighbour.first);
                range.last = range.last.max(neighbour.last);
                range.reason = neighbour.reason;
            }
        }
        self.now.insert((lane.number(), range.last), range);
    }

    /// Those that are not stored any more as they were, with their lanes.
    pub(super) fn removed(&self) -> impl Iterator<Item = (u64, Void)> {
        missing(&self.before, &self.now)
    }

    /// Those that are not stored yet, with their lanes.
    pub(super) fn added(&self) -> impl Iterator<Item = (u64, Void)> {
        missing(&self.now, &self.before)
    }
}

/// What `from` has and `other` has not.
fn missing(from: &Ranges, other: &Ranges) -> impl Iterator<Item = (u64, Void)> {
    let differs = |(key, void): &(&(u64, u64), &Void)| other.get(key) != Some(void);
    from.iter().filter(differs).map(|((lane, _), void)| (*lane, *void))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(voids: impl Iterator<Item = (u64, Void)>) -> Vec<(u64, u64, &'static str)> {
        voids.map(|(_, Void { first, last, reason })| (first, last, reason.as_str())).collect()
    }

    #[test]
    fn neighbours_with_the_same_reason_become_one_range() {
        use SkipReason::{Cancelled, Expired};
        let mut voids = Voids::default();
        let normal = Lane::Normal.number();
        voids.push_stored(normal, Void { first: 1, last: 3, reason: Cancelled });
        voids.push_stored(normal, Void { first: 5, last: 5, reason: Cancelled });
        voids.push_stored(normal, Void { first: 9, last: 9, reason: Expired });
        for (number, reason) in [(4, Cancelled), (10, Cancelled), (8, Expired)] {
            voids.add(Lane::Normal, number, reason);
        }
        voids.add(Lane::Urgent, 4, Cancelled);
        let cancelled = Cancelled.as_str();
        let expired = Expired.as_str();
        let before = [(1, 3, cancelled), (5, 5, cancelled), (9, 9, expired)];
        assert_eq!(ranges(voids.removed()), before);
        let mut added = ranges(voids.added());
        added.sort_unstable();
        let after = [(1, 5, cancelled), (4, 4, cancelled), (8, 9, expired), (10, 10, cancelled)];
        assert_eq!(added, after);
        assert_eq!(voids.from(Lane::Normal, 6).map(|void| void.first), Some(8));
        assert_eq!(voids.from(Lane::Normal, 11), None);
    }

    #[test]
    fn many_ranges_of_different_reasons_are_merged() {
        let mut voids = Voids::default();
        let reason = |number| {
            if number % 2 == 0 { SkipReason::Cancelled } else { SkipReason::Expired }
        };
        for number in 1..5000 {
            voids.add(Lane::Normal, number, reason(number));
        }
        assert!(voids.added().count() <= MAX_VOIDS + 1);
        let covered: u64 = voids.added().map(|(_, void)| void.last - void.first + 1).sum();
        assert_eq!(covered, 4999);
    }
}
