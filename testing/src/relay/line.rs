//! One direction of a relay: what happens to each packet, and the queue of those in transit. Does no I/O.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::behaviour::{Behaviour, Counts};
use super::filter::Packet;

pub(super) struct Line {
    pub(super) behaviour: Behaviour,
    random: fastrand::Rng,
    /// With the time of arrival, in the order of arrival.
    queue: VecDeque<(Instant, Vec<u8>)>,
    /// When the last packet has left the first end at the given rate.
    sent_at: Option<Instant>,
    /// When the last packet arrives.
    last: Option<Instant>,
    counts: Counts,
}

impl Line {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            behaviour: Behaviour::default(),
            random: fastrand::Rng::with_seed(seed),
            queue: VecDeque::new(),
            sent_at: None,
            last: None,
            counts: Counts::default(),
        }
    }

    /// Takes a packet that was sent now.
    pub(super) fn offer(&mut self, now: Instant, bytes: Vec<u8>) {
        let Some(packet) = Packet::parse(&bytes).filter(|it| !it.is_multicast()) else { return };
        // Drawn for each packet, whatever happens to it, so that no packet changes the fate of another.
        let (luck, lateness) = (self.random.f64(), self.random.f64());
        let behaviour = &self.behaviour;
        if behaviour.swallow.iter().any(|filter| filter.matches(&packet)) {
            self.counts.swallowed += 1;
        } else if luck < behaviour.loss {
            self.counts.lost += 1;
        } else if self.counts.queued + bytes.len() > behaviour.queue {
            self.counts.overflowed += 1;
        } else {
            let start = self.sent_at.map_or(now, |at| at.max(now));
            let takes =
                behaviour.bytes_per_second.map_or(0.0, |rate| bytes.len() as f64 / rate as f64);
            let sent = start + Duration::from_secs_f64(takes);
            let due = sent + behaviour.delay + behaviour.jitter.mul_f64(lateness);
            let due = self.last.map_or(due, |last| last.max(due));
            (self.sent_at, self.last) = (Some(sent), Some(due));
            self.counts.queued += bytes.len();
            self.counts.most_queued = self.counts.most_queued.max(self.counts.queued);
            self.queue.push_back((due, bytes));
        }
    }

    /// The next packet that has arrived.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        let (_, bytes) = self.queue.pop_front()?;
        self.counts.queued -= bytes.len();
        self.counts.passed += 1;
        Some(bytes)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 100;

    fn packet(number: u8) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        (bytes[0], bytes[9], bytes[16], bytes[SIZE - 1]) = (0x45, 17, 10, number);
        bytes
    }

    /// The numbers of the packets that arrive of `count` that are sent at once, and when.
    fn sent(seed: u64, behaviour: Behaviour, count: u8) -> (Vec<(u8, Duration)>, Counts) {
        let mut line = Line::new(seed);
        line.behaviour = behaviour;
        let start = Instant::now();
        (0..count).for_each(|number| line.offer(start, packet(number)));
        let counts = line.counts();
        let mut arrived = Vec::new();
        while let Some(at) = line.next_due() {
            arrived.push((line.take_due(at).unwrap()[SIZE - 1], at - start));
        }
        (arrived, counts)
    }

    #[test]
    fn each_packet_arrives_after_the_delay_and_its_jitter_in_order() {
        let (delay, jitter) = (Duration::from_secs(2), Duration::from_secs(1));
        let (arrived, _) = sent(1, Behaviour { delay, jitter, ..Behaviour::default() }, 200);
        assert!(arrived.is_sorted_by_key(|it| it.0) && arrived.is_sorted_by_key(|it| it.1));
        assert_eq!(arrived.len(), 200);
        assert!(arrived[0].1 >= delay && arrived[199].1 <= delay + jitter);
        assert!(arrived[199].1 > arrived[0].1);
    }

    #[test]
    fn the_same_seed_loses_the_same_packets_at_the_given_rate() {
        let lossy = || Behaviour { loss: 0.25, ..Behaviour::default() };
        let (first, counts) = sent(7, lossy(), 250);
        assert_eq!(first, sent(7, lossy(), 250).0);
        assert_ne!(first, sent(8, lossy(), 250).0);
        // 62.5 expected, within three standard deviations of 6.8.
        assert!((42..=83).contains(&counts.lost), "{counts:?}");
    }

    #[test]
    fn a_swallowed_packet_does_not_change_the_fate_of_the_next() {
        let lossy = Behaviour { loss: 0.5, ..Behaviour::default() };
        let whole = sent(3, lossy.clone(), 100).0;
        let mut line = Line::new(3);
        line.behaviour = Behaviour { swallow: vec![super::super::Filter::all()], ..lossy.clone() };
        (0..50).for_each(|number| line.offer(Instant::now(), packet(number)));
        line.behaviour = lossy;
        (50..100).for_each(|number| line.offer(Instant::now(), packet(number)));
        let rest: Vec<u8> = line.queue.iter().map(|(_, bytes)| bytes[SIZE - 1]).collect();
        let expected: Vec<u8> = whole.iter().map(|it| it.0).filter(|it| *it >= 50).collect();
        assert_eq!(rest, expected);
        assert_eq!(line.counts().swallowed, 50);
    }

    #[test]
    fn the_rate_spaces_packets_and_the_queue_bounds_their_bytes() {
        let behaviour =
            Behaviour { bytes_per_second: Some(1_000), queue: 4 * SIZE, ..Behaviour::default() };
        let (arrived, counts) = sent(1, behaviour, 10);
        let times: Vec<_> = arrived.iter().map(|it| it.1.as_millis()).collect();
        assert_eq!(times, [100, 200, 300, 400]);
        assert_eq!((counts.overflowed, counts.most_queued), (6, 4 * SIZE));
    }
}
