//! The bounded log of events, and its readers.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fedecks_cloud::DeviceId;
use fedecks_store::DevicePattern;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::event::Event;
use crate::event_kind::EventKind;

/// The latest events, bounded in number and in bytes. Recording never waits for a reader: one that
/// falls too far behind gets a gap instead. Clones share the same log.
#[derive(Clone)]
pub(crate) struct EventLog(Arc<Shared>);

struct Shared {
    /// Distinguishes the ids of this run of the server from those of another.
    instance: u64,
    bounds: Bounds,
    ring: Mutex<Ring>,
    /// The number of the next event. Wakes the readers.
    next: watch::Sender<u64>,
}

/// How much the log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) events: usize,
    /// The approximate number of bytes. A single event may be bigger.
    pub(crate) bytes: usize,
}

struct Ring {
    entries: VecDeque<Arc<LogEntry>>,
    bytes: usize,
    /// The number of the next event, counted from 1.
    next: u64,
}

/// An event in the log.
pub(crate) struct LogEntry {
    instance: u64,
    number: u64,
    pub(crate) event: Event,
    weight: usize,
    encoded: OnceLock<Bytes>,
}

/// Which events a reader wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Only events of devices that match all of these patterns. Empty: also events without a device.
    pub(crate) devices: Vec<DevicePattern>,
    /// Only events of these kinds. Empty: all kinds.
    pub(crate) kinds: Vec<EventKind>,
}

/// A reader of the log.
pub(crate) struct Reader {
    log: EventLog,
    filter: Filter,
    /// The number of the first event that was not read from the log yet.
    next: u64,
    /// Read from the log and matching the filter.
    batch: VecDeque<Arc<LogEntry>>,
    /// Events are missing before the next one, and the reader has not reported it yet.
    gap: bool,
    changes: watch::Receiver<u64>,
}

/// What a reader gets.
pub(crate) enum Item {
    /// An event that matches the filter.
    Event(Arc<LogEntry>),
    /// Events are missing here. Reading after `id` continues with the next one in the log.
    Gap { id: String },
}

/// How many events a reader reads from the log at a time.
const BATCH: usize = 256;

/// A batch ends after about this many bytes: it stays in memory until it is sent, however long that
/// takes.
const BATCH_BYTES: usize = 256 * 1024;

impl EventLog {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared {
            instance: rand::random(),
            bounds,
            ring: Mutex::new(Ring { entries: VecDeque::new(), bytes: 0, next: 1 }),
            next: watch::Sender::new(1),
        }))
    }

    /// Adds an event, and drops the oldest ones that exceed the bounds.
    pub(crate) fn record(&self, event: Event) {
        let Shared { instance, bounds, ring, next } = &*self.0;
        let weight = event.weight();
        let mut dropped = Vec::new();
        let number = {
            let mut ring = ring.lock();
            let number = ring.next;
            let encoded = OnceLock::new();
            let entry = LogEntry { instance: *instance, number, event, weight, encoded };
            ring.next += 1;
            ring.bytes += weight;
            ring.entries.push_back(Arc::new(entry));
            while ring.entries.len() > 1
                && (ring.entries.len() > bounds.events || ring.bytes > bounds.bytes)
            {
                if let Some(oldest) = ring.entries.pop_front() {
                    ring.bytes -= oldest.weight;
                    // Freed after the lock is released.
                    dropped.push(oldest);
                }
            }
            ring.next
        };
        // Two recorders may get here in the other order, so readers only take this as a wake-up.
        next.send_replace(number);
    }

    /// Follows the events from now on or, with the id of an event, from the one after it.
    pub(crate) fn follow(&self, after: Option<&str>, filter: Filter) -> Reader {
        let changes = self.0.next.subscribe();
        let next = self.0.ring.lock().next;
        let (next, gap) = match after.map(|id| self.number_of(id)) {
            None => (next, false),
            Some(Some(number)) if number < next => (number + 1, false),
            // Of another run, or made up.
            Some(_) => (next, true),
        };
        Reader { log: self.clone(), filter, next, batch: VecDeque::new(), gap, changes }
    }

    fn number_of(&self, id: &str) -> Option<u64> {
        let (instance, number) = id.split_once('-')?;
        let same = u64::from_str_radix(instance, 16).ok()? == self.0.instance;
        if same { number.parse().ok() } else { None }
    }

    fn id(&self, number: u64) -> String {
        id(self.0.instance, number)
    }
}

fn id(instance: u64, number: u64) -> String {
    format!("{instance:016x}-{number}")
}

impl LogEntry {
    pub(crate) fn id(&self) -> String {
        id(self.instance, self.number)
    }

    /// The entry as event streams send it. `encode` runs once, however many streams there are.
    pub(crate) fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }
}

impl Filter {
    pub(crate) fn matches(&self, event: &Event) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.kind()))
            && self.devices.iter().all(|pattern| {
                event.device.as_ref().is_some_and(|device: &DeviceId| pattern.matches(device))
            })
    }
}

impl Reader {
    /// Waits for the next item. Cancel safe.
    pub(crate) async fn next(&mut self) -> Item {
        loop {
            // Before reading the log: whatever is recorded afterwards wakes this up.
            self.changes.mark_unchanged();
            if std::mem::take(&mut self.gap) {
                return Item::Gap { id: self.log.id(self.next.saturating_sub(1)) };
            }
            if let Some(entry) = self.batch.pop_front() {
                return Item::Event(entry);
            }
            if !self.fill() {
                // The reader holds the log, and so the sender.
                let _ = self.changes.changed().await;
            }
        }
    }

    /// The next item, if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Item> {
        self.next().now_or_never()
    }

    /// The id from which a reader that got everything up to here can resume; `None` while it has a gap to
    /// report first.
    pub(crate) fn position(&self) -> Option<String> {
        let next = self.batch.front().map_or(self.next, |entry| entry.number);
        if self.gap { None } else { Some(self.log.id(next - 1)) }
    }

    /// Reads a batch from the log. Returns false if there was nothing to read.
    fn fill(&mut self) -> bool {
        let ring = self.log.0.ring.lock();
        let first = ring.entries.front().map_or(ring.next, |entry| entry.number);
        if self.next < first {
            self.gap = true;
            self.next = first;
            return true;
        }
        let skip = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        let before = self.next;
        let mut bytes = 0;
        for entry in ring.entries.iter().skip(skip).take(BATCH) {
            if bytes > BATCH_BYTES {
                break;
            }
            self.next = entry.number + 1;
            if self.filter.matches(&entry.event) {
                bytes += entry.weight;
                self.batch.push_back(entry.clone());
            }
        }
        self.next != before
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fedecks_cloud::{Message, Term};

    use super::super::event::EventPayload;
    use super::*;

    /// A log that keeps 4 events, and a reader from its beginning.
    fn log() -> (EventLog, Reader) {
        let log = EventLog::new(Bounds { events: 4, bytes: 1_000_000 });
        let reader = log.follow(None, Filter::default());
        (log, reader)
    }

    fn event(device: &str, bytes: usize) -> Event {
        let payload = EventPayload::Message(Message::from(Term::Bytes(vec![0; bytes])));
        Event::now(&DeviceId::new(device).unwrap(), payload)
    }

    fn record(log: &EventLog, count: usize) {
        (0..count).for_each(|_| log.record(event("a", 0)));
    }

    fn after(log: &EventLog, id: &str) -> Reader {
        log.follow(Some(id), Filter::default())
    }

    /// The numbers of the events that there are to read, and 0 for a gap.
    fn read(reader: &mut Reader) -> Vec<u64> {
        std::iter::from_fn(|| reader.try_next())
            .map(|item| match item {
                Item::Gap { .. } => 0,
                Item::Event(entry) => entry.number,
            })
            .collect()
    }

    fn next(reader: &mut Reader) -> Arc<LogEntry> {
        let Some(Item::Event(entry)) = reader.try_next() else { panic!("no event") };
        entry
    }

    #[tokio::test]
    async fn a_reader_gets_what_is_recorded_from_then_on_and_is_woken() {
        let (log, _) = log();
        record(&log, 1);
        let mut reader = log.follow(None, Filter::default());
        assert!(reader.try_next().is_none());
        record(&log, 2);
        assert_eq!(read(&mut reader), [2, 3]);
        let reading = tokio::spawn(async move { matches!(reader.next().await, Item::Event(_)) });
        tokio::task::yield_now().await;
        record(&log, 1);
        assert!(tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap());
    }

    #[test]
    fn a_reader_resumes_after_the_event_that_it_read_last() {
        let (log, mut reader) = log();
        let mut position = reader.position().unwrap();
        record(&log, 3);
        for rest in [&[1, 2, 3][..], &[2, 3], &[3]] {
            assert_eq!(read(&mut after(&log, &position)), rest);
            let id = next(&mut reader).id();
            position = reader.position().unwrap();
            assert_eq!(position, id);
        }
        assert!(after(&log, &position).try_next().is_none());
        assert_eq!(after(&log, "0-0").position(), None);
    }

    #[test]
    fn a_reader_that_missed_events_gets_a_gap_first() {
        let (log, mut reader) = log();
        record(&log, 1);
        let first = next(&mut reader).id();
        record(&log, 9);
        for mut reader in [reader, after(&log, &first)] {
            assert_eq!(read(&mut reader), [0, 7, 8, 9, 10]);
        }
        let others = ["", "1", "0-1", "ffffffffffffffff-2", &log.id(99), "x-y"];
        for (number, other) in (11..).zip(others) {
            let mut reader = after(&log, other);
            let Some(Item::Gap { id }) = reader.try_next() else { panic!("{other}") };
            assert!(reader.try_next().is_none(), "{other}");
            record(&log, 1);
            for mut reader in [reader, after(&log, &id)] {
                assert_eq!(read(&mut reader), [number], "{other}");
            }
        }
    }

    #[test]
    fn a_reader_holds_only_a_few_big_events() {
        let log = EventLog::new(Bounds { events: 100, bytes: 100_000_000 });
        let mut reader = log.follow(None, Filter::default());
        (0..50).for_each(|_| log.record(event("a", BATCH_BYTES / 4)));
        for _ in 0..50 {
            assert!(reader.try_next().is_some() && reader.batch.len() <= 4);
        }
        assert!(reader.try_next().is_none());
    }

    #[test]
    fn bytes_are_bounded_too_and_the_latest_event_is_always_kept() {
        let weight = event("a", 0).weight();
        let log = EventLog::new(Bounds { events: 100, bytes: 3 * weight });
        let mut reader = log.follow(None, Filter::default());
        record(&log, 10);
        assert_eq!(read(&mut reader), [0, 8, 9, 10]);
        for bytes in [100 * weight, 0] {
            log.record(event("a", bytes));
            assert_eq!(log.0.ring.lock().entries.len(), 1);
        }
    }

    #[test]
    fn a_filter_selects_devices_and_kinds() {
        let (log, _) = log();
        ["site-1", "site-2", "shop-1"].iter().for_each(|device| log.record(event(device, 0)));
        let payload = EventPayload::Refused { reason: "malformed", peer: None };
        log.record(Event { device: None, payload, ..event("x", 0) });
        let patterns = ["site-*", "*-1"].map(|pattern| DevicePattern::new(pattern).unwrap());
        let kinds = [EventKind::Connected, EventKind::Refused];
        for (devices, kinds, expected) in
            [(&patterns[..], &[][..], &[1][..]), (&[], &kinds, &[4]), (&patterns, &kinds, &[])]
        {
            let filter = Filter { devices: devices.to_vec(), kinds: kinds.to_vec() };
            assert_eq!(read(&mut log.follow(Some(&log.id(0)), filter)), expected);
        }
    }

    #[test]
    fn an_entry_is_encoded_once_for_all_readers() {
        let (log, one) = log();
        let other = log.follow(None, Filter::default());
        record(&log, 1);
        let [one, other] =
            [one, other].map(|mut reader| next(&mut reader).encoded(|entry| entry.id().into()));
        assert_eq!(one.as_ptr(), other.as_ptr());
    }
}
