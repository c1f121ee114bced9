//! The events that wait for their readers: one queue for all of them, bounded by number and by weight.
//! It neither waits nor wakes anyone.

use std::collections::VecDeque;

use fedecks_device_core::Event;
use fedecks_protocol::EncodedTerm;

/// Each reader has its own position, and the queue has what the slowest of them has not read. What does not
/// fit is missed by the readers that are behind, and by no other.
#[derive(Debug)]
pub(crate) struct EventQueue {
    waiting: VecDeque<Waiting>,
    /// The position of the first event, counted from the start.
    first: u64,
    weight: usize,
    readers: Vec<(ReaderId, u64)>,
    last_reader: u64,
    limits: QueueLimits,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    /// The most events.
    pub(crate) events: usize,
    /// The most that they weigh together without the newest one, in bytes. A message weighs what its term
    /// will, although it waits encoded.
    pub(crate) weight: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderId(u64);

/// An event that waits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Queued {
    Event(Event),
    Message(EncodedTerm),
}

#[derive(Debug)]
struct Waiting {
    event: Queued,
    weight: usize,
}

/// What a reader has next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Event(Queued),
    /// As many events did not fit.
    Missed(u64),
    Nothing,
}

/// What an event without a message weighs, roughly, in bytes.
const SMALL: usize = 512;

impl EventQueue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            waiting: VecDeque::new(),
            first: 0,
            weight: 0,
            readers: Vec::new(),
            last_reader: 0,
            limits,
        }
    }

    /// A reader of the events from now on.
    pub(crate) fn join(&mut self) -> ReaderId {
        self.last_reader += 1;
        let reader = ReaderId(self.last_reader);
        self.readers.push((reader, self.end()));
        reader
    }

    pub(crate) fn leave(&mut self, reader: ReaderId) {
        self.readers.retain(|(id, _)| *id != reader);
        self.drop_read();
    }

    /// Adds an event, and removes the oldest ones that no longer fit.
    pub(crate) fn push(&mut self, event: Queued) {
        if self.readers.is_empty() {
            return;
        }
        let weight = event.weight();
        // A small event, such as a lost connection, pushes out no message by its weight: their number is
        // bounded.
        let heavy = |queue: &Self| weight > SMALL && queue.weight > queue.limits.weight;
        while self.waiting.len() >= self.limits.events.max(1) || heavy(self) {
            if self.pop().is_none() {
                break;
            }
        }
        self.weight += weight;
        self.waiting.push_back(Waiting { event, weight });
    }

    pub(crate) fn next(&mut self, reader: ReaderId) -> Next {
        let (first, end) = (self.first, self.end());
        let Some((_, position)) = self.readers.iter_mut().find(|(id, _)| *id == reader) else {
            return Next::Nothing;
        };
        if *position < first {
            let missed = first - *position;
            *position = first;
            return Next::Missed(missed);
        }
        if *position == end {
            return Next::Nothing;
        }
        let ahead = *position - first;
        *position += 1;
        if self.slowest() > first {
            // The last reader takes the event; the others get a copy.
            return self.pop().map_or(Next::Nothing, Next::Event);
        }
        let waiting = usize::try_from(ahead).ok().and_then(|ahead| self.waiting.get(ahead));
        waiting.map_or(Next::Nothing, |waiting| Next::Event(waiting.event.clone()))
    }

    pub(crate) fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }

    /// How many events wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What they weigh, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// The position after the last event.
    fn end(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    /// The position of the slowest reader.
    fn slowest(&self) -> u64 {
        self.readers.iter().map(|(_, position)| *position).min().unwrap_or_else(|| self.end())
    }

    fn drop_read(&mut self) {
        let slowest = self.slowest();
        while self.first < slowest && self.pop().is_some() {}
    }

    fn pop(&mut self) -> Option<Queued> {
        let Waiting { event, weight } = self.waiting.pop_front()?;
        self.first += 1;
        self.weight -= weight;
        Some(event)
    }
}

impl Queued {
    fn weight(&self) -> usize {
        match self {
            Self::Message(message) => message.weight(),
            Self::Event(Event::Message(term)) => term.weight(),
            Self::Event(Event::RawMessage(bytes)) => bytes.len(),
            Self::Event(_) => SMALL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(size: usize) -> Queued {
        Queued::Event(Event::RawMessage(vec![0; size]))
    }

    fn queue(events: usize, weight: usize) -> EventQueue {
        EventQueue::new(QueueLimits { events, weight })
    }

    #[test]
    fn each_reader_has_every_event_since_it_joined() {
        let mut queue = queue(8, 1_000);
        queue.push(raw(1));
        let one = queue.join();
        queue.push(raw(2));
        let other = queue.join();
        queue.push(raw(3));
        for (reader, sizes) in [(one, &[2, 3][..]), (other, &[3])] {
            for size in sizes {
                assert_eq!(queue.next(reader), Next::Event(raw(*size)));
            }
            assert_eq!(queue.next(reader), Next::Nothing);
        }
        assert_eq!((queue.len(), queue.weight()), (0, 0));
    }

    #[test]
    fn only_a_reader_that_is_behind_misses_what_is_too_heavy() {
        let mut queue = queue(100, 1_000);
        let (slow, fast) = (queue.join(), queue.join());
        for _ in 0..10 {
            queue.push(raw(600));
            assert_eq!(queue.next(fast), Next::Event(raw(600)));
            assert!(queue.weight() <= 1_000 + 600, "{}", queue.weight());
        }
        assert_eq!(queue.next(slow), Next::Missed(8));
        assert_eq!(queue.next(slow), Next::Event(raw(600)));
        assert_eq!(queue.next(slow), Next::Event(raw(600)));
        assert_eq!(queue.next(slow), Next::Nothing);
        assert_eq!(queue.weight(), 0);
    }

    #[test]
    fn a_message_heavier_than_the_limit_waits_alone() {
        let mut queue = queue(100, 1_000);
        let reader = queue.join();
        queue.push(raw(5_000));
        queue.push(raw(SMALL + 1));
        assert_eq!(queue.next(reader), Next::Missed(1));
        assert_eq!(queue.next(reader), Next::Event(raw(SMALL + 1)));
        queue.push(raw(5_000));
        queue.push(raw(1));
        assert_eq!(queue.next(reader), Next::Event(raw(5_000)), "not pushed out by a small one");
        assert_eq!(queue.next(reader), Next::Event(raw(1)));
        queue.push(raw(5_000));
        assert_eq!(queue.next(reader), Next::Event(raw(5_000)));
    }

    #[test]
    fn the_number_of_events_is_bounded_as_well() {
        let mut queue = queue(3, 1_000);
        let reader = queue.join();
        for size in 0..5 {
            queue.push(raw(size));
        }
        assert_eq!(queue.next(reader), Next::Missed(2));
        assert_eq!(queue.next(reader), Next::Event(raw(2)));
        queue.leave(reader);
        assert_eq!((queue.len(), queue.weight()), (0, 0));
        queue.push(raw(1));
        assert_eq!(queue.len(), 0, "no one reads it");
    }
}
