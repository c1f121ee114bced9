//! A reader of the log, at its own pace. It keeps no entry alive: what leaves the log before it is read is a
//! gap.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

#[cfg(test)]
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::entry::{Content, LogEntry};
use super::filter::Filter;
use super::log::EventLog;

/// A reader of the log.
pub(crate) struct Reader {
    log: EventLog,
    filter: Filter,
    /// Only for webhooks: what other servers have recorded, they pass to webhooks themselves.
    for_webhooks: bool,
    /// The number of the first event that was not read from the log yet.
    next: u64,
    /// Read from the log and matching the filter. `None` is a gap that is in the log.
    batch: VecDeque<(u64, Option<Weak<LogEntry>>)>,
    /// Events are missing before the next one, and the reader has not reported it yet.
    gap: bool,
    changes: watch::Receiver<u64>,
    /// When the log was read last.
    read_at: Instant,
}

/// What a reader gets.
pub(crate) enum Item {
    /// An event that matches the filter, with its text.
    Event(Arc<LogEntry>),
    /// Events are missing here. Reading after `id` continues with the next one in the log.
    Gap { id: String },
}

/// The pause of a reader that has read everything, before it is woken again: a thousand readers are not
/// woken for each of a thousand events in a second.
const PACE: Duration = Duration::from_millis(20);

impl Reader {
    /// Follows the events from now on or, with the id of an event, from the one after it.
    pub(crate) fn follow(log: &EventLog, after: Option<&str>, filter: Filter) -> Self {
        let changes = log.changes();
        let next = log.next();
        let (next, gap) = match after.map(|id| (id, log.number_of(id))) {
            None => (next, false),
            Some((_, Some(number))) if number < next => (number + 1, false),
            // Of another server, of another run, or made up. What follows has not arrived here in the same order.
            Some((id, _)) => (log.number_of_other(id).map_or(next, |number| number + 1), true),
        };
        let (log, batch, read_at) = (log.clone(), VecDeque::new(), Instant::now());
        Self { log, filter, for_webhooks: false, next, batch, gap, changes, read_at }
    }

    /// Follows what webhooks get, from now on.
    pub(crate) fn follow_for_webhooks(log: &EventLog, filter: Filter) -> Self {
        Self { for_webhooks: true, ..Self::follow(log, None, filter) }
    }

    /// Waits for the next item. Cancel safe.
    pub(crate) async fn next(&mut self) -> Item {
        loop {
            // Before reading the log: whatever is recorded afterwards wakes this up.
            self.changes.mark_unchanged();
            if let Some(item) = self.ready().await {
                return item;
            }
            // The reader holds the log, and so the sender.
            let _ = self.changes.changed().await;
            tokio::time::sleep_until(self.read_at + PACE).await;
        }
    }

    /// The next item, if there is one already. Cancel safe.
    pub(crate) async fn ready(&mut self) -> Option<Item> {
        loop {
            if std::mem::take(&mut self.gap) {
                return Some(Item::Gap { id: self.log.id(self.next.saturating_sub(1)) });
            }
            if let Some((number, entry)) = self.batch.front() {
                let (number, entry) = (*number, entry.clone());
                let Some(entry) = entry else {
                    self.batch.pop_front();
                    return Some(Item::Gap { id: self.log.id(number) });
                };
                let found = self.log.rendered(&entry).await;
                self.batch.pop_front();
                if let Some(entry) = found {
                    return Some(Item::Event(entry));
                }
                self.next = number;
                self.batch.clear();
            }
            if !self.fill() {
                return None;
            }
            // However few events match, others have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// The id from which a reader that got everything up to here can resume; `None` while it has a gap to
    /// report first.
    pub(crate) fn position(&self) -> Option<String> {
        let next = self.batch.front().map_or(self.next, |(number, _)| *number);
        if self.gap { None } else { Some(self.log.id(next - 1)) }
    }

    /// Reads a batch from the log. Returns false if there was nothing to read.
    fn fill(&mut self) -> bool {
        self.read_at = Instant::now();
        let entries = match self.log.read(self.next) {
            Ok(entries) => entries,
            Err(missed) => {
                // What left the log without being for webhooks is nothing that they miss.
                self.gap = !self.for_webhooks || missed.for_webhooks;
                self.next = missed.first;
                return true;
            }
        };
        for entry in &entries {
            self.next = entry.number + 1;
            if self.wants(entry) {
                let is_gap = matches!(entry.content(), Content::Gap);
                self.batch.push_back((entry.number, (!is_gap).then(|| Arc::downgrade(entry))));
            }
        }
        !entries.is_empty()
    }

    fn wants(&self, entry: &LogEntry) -> bool {
        if self.for_webhooks && !entry.is_for_webhooks() {
            return false;
        }
        match entry.content() {
            Content::Own(event, _) => self.filter.matches(event),
            Content::Other(event) => self.filter.wants(event.kind, event.device.as_ref()),
            Content::Gap => true,
        }
    }

    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Option<Item> {
        self.ready().now_or_never().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fedecks_cloud::{DeviceId, Message, Term};
    use fedecks_store::DevicePattern;

    use super::super::entry::{OtherEvent, Reach};
    use super::super::event::{Event, EventPayload};
    use super::super::log::Bounds;
    use super::*;
    use crate::event_kind::EventKind;

    /// A log that keeps 4 events, and a reader from its beginning.
    fn log() -> (EventLog, Reader) {
        let log = EventLog::new(Bounds { events: 4, bytes: 1_000_000 });
        let reader = Reader::follow(&log, None, Filter::default());
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
        Reader::follow(log, Some(id), Filter::default())
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
        let mut reader = Reader::follow(&log, None, Filter::default());
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

    #[tokio::test]
    async fn a_reader_keeps_nothing_that_has_left_the_log() {
        let log = EventLog::new(Bounds { events: 4, bytes: 100_000_000 });
        let mut reader = Reader::follow(&log, None, Filter::default());
        record(&log, 4);
        let first = next(&mut reader);
        let entries: Vec<_> = reader.batch.iter().filter_map(|(_, entry)| entry.clone()).collect();
        assert_eq!(entries.len(), 3);
        record(&log, 3);
        assert!(entries.iter().take(2).all(|entry| entry.upgrade().is_none()));
        drop(first);
        assert_eq!(read(&mut reader), [0, 4, 5, 6, 7]);
    }

    #[tokio::test]
    async fn the_text_of_an_event_counts_before_it_is_made() {
        let log = EventLog::new(Bounds { events: 100, bytes: 3_000_000 });
        let mut reader = Reader::follow(&log, None, Filter::default());
        let text = Message::from(Term::from("\u{1}".repeat(200_000)));
        for _ in 0..10 {
            let payload = EventPayload::Message(text.clone());
            log.record(Event::now(&DeviceId::new("a").unwrap(), payload));
        }
        // Each is 200 kB, and its text 1.2 MB.
        let (entries, bytes) = log.kept();
        assert!(entries == 2 && bytes <= 3_000_000, "{entries} {bytes}");
        assert!(matches!(reader.ready().await, Some(Item::Gap { .. })));
        let Some(Item::Event(entry)) = reader.ready().await else { panic!() };
        assert!(entry.number == 9 && entry.text().len() > 1_200_000);
    }

    #[test]
    fn bytes_are_bounded_too_and_the_latest_event_is_always_kept() {
        let weight = LogEntry::new(0, 0, Content::Own(event("a", 0), Reach::All)).weight();
        let log = EventLog::new(Bounds { events: 100, bytes: 3 * weight });
        let mut reader = Reader::follow(&log, None, Filter::default());
        record(&log, 10);
        assert_eq!(read(&mut reader), [0, 8, 9, 10]);
        for bytes in [100 * weight, 0] {
            log.record(event("a", bytes));
            assert_eq!(log.kept().0, 1);
        }
    }

    #[test]
    fn what_is_not_for_webhooks_is_no_gap_for_them() {
        let (log, _) = log();
        let mut reader = Reader::follow_for_webhooks(&log, Filter::default());
        let mut others = 1..;
        let mut record_others = |count| {
            for at in others.by_ref().take(count) {
                let (device, json) = (None, bytes::Bytes::from_static(b"{}"));
                let origin = (1, at);
                log.record_other(OtherEvent { origin, kind: EventKind::Connected, device, json });
            }
        };
        // The log keeps 4: what has left was of others.
        record_others(9);
        record(&log, 1);
        assert_eq!(read(&mut reader), [10]);
        log.record_for(event("a", 0), Reach::Streams);
        log.record_gap();
        record_others(9);
        assert_eq!(read(&mut reader), [0; 0]);
        // One for webhooks has left.
        record(&log, 1);
        record_others(9);
        assert_eq!(read(&mut reader), [0]);
        // What left was read before.
        record(&log, 1);
        assert_eq!(read(&mut reader), [32]);
        record_others(9);
        assert_eq!(read(&mut reader), [0; 0]);
    }

    #[test]
    fn a_filter_selects_devices_and_kinds() {
        let (log, _) = log();
        ["site-1", "site-2", "shop-1"].iter().for_each(|device| log.record(event(device, 0)));
        let payload = EventPayload::Refused { reason: "malformed", peer: None, by: None };
        log.record(Event { device: None, payload, ..event("x", 0) });
        let patterns = ["site-*", "*-1"].map(|pattern| DevicePattern::new(pattern).unwrap());
        let kinds = [EventKind::Connected, EventKind::Refused];
        for (devices, kinds, expected) in
            [(&patterns[..], &[][..], &[1][..]), (&[], &kinds, &[4]), (&patterns, &kinds, &[])]
        {
            let filter = Filter::new(devices.to_vec(), kinds);
            assert_eq!(read(&mut Reader::follow(&log, Some(&log.id(0)), filter)), expected);
        }
    }

    #[test]
    fn an_entry_is_rendered_once_for_all_readers() {
        let (log, one) = log();
        let other = Reader::follow(&log, None, Filter::default());
        record(&log, 1);
        let [one, other] = [one, other].map(|mut reader| next(&mut reader).text());
        assert_eq!(one.as_ptr(), other.as_ptr());
    }
}
