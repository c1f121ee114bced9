//! The bounded memory of events, and its readers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use fedecks_cloud::DeviceId;
use fedecks_store::DevicePattern;
use futures_util::FutureExt;
use tokio::sync::watch;

use super::event::Event;
use crate::event_kind::EventKind;

/// The latest events, bounded in number and in bytes. Recording never waits for a reader: a reader
/// that falls too far behind is told how many it missed. Clones share the same memory.
#[derive(Clone)]
pub(crate) struct EventLog(Arc<Shared>);

struct Shared {
    /// Tells the ids of this run of the server from those of another one.
    boot: u64,
    bounds: Bounds,
    ring: Mutex<Ring>,
    /// The number of the next event: whoever waits for one waits here.
    news: watch::Sender<u64>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) events: usize,
    /// About how many bytes. A single event may be bigger.
    pub(crate) bytes: usize,
}

struct Ring {
    events: VecDeque<Arc<Recorded>>,
    bytes: usize,
    /// The number of the next event, counted from 1.
    next: u64,
}

/// An event that was recorded.
pub(crate) struct Recorded {
    boot: u64,
    number: u64,
    pub(crate) event: Event,
    weight: usize,
    /// What the streams send of it, made when it is asked for first.
    server_sent: OnceLock<Bytes>,
}

/// Which events somebody wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Those of devices that all of these match; an event without a device is wanted if there is none.
    pub(crate) devices: Vec<DevicePattern>,
    /// Those of these kinds; all if there is none.
    pub(crate) kinds: Vec<EventKind>,
}

/// A reader of the log.
pub(crate) struct Feed {
    log: EventLog,
    filter: Filter,
    /// The number of the event to look at next.
    next: u64,
    /// Looked at, and wanted.
    batch: VecDeque<Arc<Recorded>>,
    /// What is said before the first event: that the reader cannot go on where it stopped.
    lost: bool,
    news: watch::Receiver<u64>,
}

/// What a reader gets.
pub(crate) enum Item {
    Event(Arc<Recorded>),
    /// Events are missing here. The id stands before the next one that is not.
    Gap {
        id: String,
    },
}

/// How many events a reader looks at in one go.
const LOOK: usize = 256;

/// It takes no more than about so many bytes of them: what it has taken stays in memory until it is
/// sent, however slowly that goes.
const LOOK_BYTES: usize = 256 * 1024;

impl EventLog {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared {
            boot: rand::random(),
            bounds,
            ring: Mutex::new(Ring { events: VecDeque::new(), bytes: 0, next: 1 }),
            news: watch::Sender::new(1),
        }))
    }

    /// Takes an event in. The oldest ones make room for it.
    pub(crate) fn record(&self, event: Event) {
        let weight = event.weight();
        let mut dropped = Vec::new();
        let next = {
            let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let recorded = Recorded {
                boot: self.0.boot,
                number: ring.next,
                event,
                weight,
                server_sent: OnceLock::new(),
            };
            ring.next += 1;
            ring.bytes += weight;
            ring.events.push_back(Arc::new(recorded));
            while ring.events.len() > 1
                && (ring.events.len() > self.0.bounds.events || ring.bytes > self.0.bounds.bytes)
            {
                if let Some(oldest) = ring.events.pop_front() {
                    ring.bytes -= oldest.weight;
                    // Freed when nobody waits for the lock.
                    dropped.push(oldest);
                }
            }
            ring.next
        };
        // Two recorders may come here in the other order: readers look for themselves.
        self.0.news.send_replace(next);
    }

    /// Follows the events from now on or, with the id of an event, from the one after it.
    pub(crate) fn follow(&self, after: Option<&str>, filter: Filter) -> Feed {
        let news = self.0.news.subscribe();
        let next = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner).next;
        let place = after.map(|id| self.number_of(id).filter(|number| *number < next));
        let (next, lost) = match place {
            None => (next, false),
            Some(Some(number)) => (number + 1, false),
            // Of another run, or of nobody.
            Some(None) => (next, true),
        };
        Feed { log: self.clone(), filter, next, batch: VecDeque::new(), lost, news }
    }

    fn number_of(&self, id: &str) -> Option<u64> {
        let (boot, number) = id.split_once('-')?;
        let same = u64::from_str_radix(boot, 16).ok()? == self.0.boot;
        if same { number.parse().ok() } else { None }
    }

    fn id(&self, number: u64) -> String {
        id(self.0.boot, number)
    }
}

fn id(boot: u64, number: u64) -> String {
    format!("{boot:016x}-{number}")
}

impl Recorded {
    pub(crate) fn id(&self) -> String {
        id(self.boot, self.number)
    }

    /// The piece of a stream of server-sent events. Made once, whoever asks.
    pub(crate) fn server_sent(&self) -> Bytes {
        let make = || {
            let (id, kind) = (self.id(), self.event.kind().as_str());
            // JSON has no line ends in it.
            let json = self.event.to_json(&id);
            format!("id: {id}\nevent: {kind}\ndata: {json}\n\n").into()
        };
        self.server_sent.get_or_init(make).clone()
    }
}

impl Filter {
    pub(crate) fn wants(&self, event: &Event) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.kind()))
            && self.devices.iter().all(|pattern| {
                event.device.as_ref().is_some_and(|device: &DeviceId| pattern.matches(device))
            })
    }
}

impl Feed {
    /// What comes next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Item {
        loop {
            // Before the look: what is recorded after it is seen by this.
            self.news.mark_unchanged();
            if std::mem::take(&mut self.lost) {
                return Item::Gap { id: self.log.id(self.next.saturating_sub(1)) };
            }
            if let Some(event) = self.batch.pop_front() {
                return Item::Event(event);
            }
            if !self.look() {
                // The log is part of this feed, so the sender is there.
                let _ = self.news.changed().await;
            }
        }
    }

    /// The id to go on after, for a reader that has got everything up to here; `None` while it has to
    /// be told of a gap first.
    pub(crate) fn position(&self) -> Option<String> {
        let next = self.batch.front().map_or(self.next, |event| event.number);
        if self.lost { None } else { Some(self.log.id(next - 1)) }
    }

    /// What is there already.
    pub(crate) fn try_next(&mut self) -> Option<Item> {
        self.next().now_or_never()
    }

    /// Looks at the next events; whether there were any.
    fn look(&mut self) -> bool {
        let ring = self.log.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.events.front().map_or(ring.next, |event| event.number);
        if self.next < first {
            self.lost = true;
            self.next = first;
            return true;
        }
        let skip = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        let before = self.next;
        let mut bytes = 0;
        for event in ring.events.iter().skip(skip).take(LOOK) {
            if bytes > LOOK_BYTES {
                break;
            }
            self.next = event.number + 1;
            if self.filter.wants(&event.event) {
                bytes += event.weight;
                self.batch.push_back(event.clone());
            }
        }
        self.next != before
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fedecks_cloud::{Message, Term};

    use super::super::event::Happened;
    use super::*;

    const BOUNDS: Bounds = Bounds { events: 4, bytes: 1_000_000 };

    fn message(device: &str, number: i64) -> Event {
        let message = Message::from(Term::from(number));
        Event::now(&DeviceId::new(device).unwrap(), Happened::Message(message))
    }

    /// What there is to read: numbers of messages, and -1 for a gap.
    fn read(feed: &mut Feed) -> Vec<i64> {
        let number = |recorded: &Recorded| {
            let Happened::Message(message) = &recorded.event.happened else {
                panic!("{:?}", recorded.event)
            };
            message.clone().into_term().deserialize().unwrap()
        };
        std::iter::from_fn(|| feed.try_next())
            .map(|item| match item {
                Item::Gap { .. } => -1,
                Item::Event(recorded) => number(&recorded),
            })
            .collect()
    }

    fn id_of_next(feed: &mut Feed) -> String {
        match feed.next().now_or_never().unwrap() {
            Item::Event(event) => event.id(),
            Item::Gap { id } => id,
        }
    }

    #[tokio::test]
    async fn a_reader_gets_what_happens_from_then_on() {
        let log = EventLog::new(BOUNDS);
        log.record(message("a", 1));
        let mut feed = log.follow(None, Filter::default());
        assert!(feed.next().now_or_never().is_none());
        log.record(message("a", 2));
        log.record(message("a", 3));
        assert_eq!(read(&mut feed), [2, 3]);
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let log = EventLog::new(BOUNDS);
        let mut feed = log.follow(None, Filter::default());
        let reading = tokio::spawn(async move { matches!(feed.next().await, Item::Event(_)) });
        tokio::task::yield_now().await;
        log.record(message("a", 1));
        assert!(tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap());
    }

    #[test]
    fn a_reader_goes_on_after_the_id_that_it_saw_last() {
        let log = EventLog::new(BOUNDS);
        let mut feed = log.follow(None, Filter::default());
        for number in 1..=3 {
            log.record(message("a", number));
        }
        let first = id_of_next(&mut feed);
        assert_eq!(read(&mut log.follow(Some(&first), Filter::default())), [2, 3]);
        let last = id_of_next(&mut log.follow(Some(&first), Filter::default()));
        assert_eq!(read(&mut log.follow(Some(&last), Filter::default())), [3]);
    }

    #[test]
    fn a_reader_that_cannot_go_on_where_it_stopped_is_told() {
        let log = EventLog::new(BOUNDS);
        let mut feed = log.follow(None, Filter::default());
        log.record(message("a", 1));
        let first = id_of_next(&mut feed);
        for number in 2..=7 {
            log.record(message("a", number));
        }
        // Those after the first one are 2 to 7, and 4 are kept.
        assert_eq!(read(&mut log.follow(Some(&first), Filter::default())), [-1, 4, 5, 6, 7]);
        for other in ["", "1", "0-1", "ffffffffffffffff-2", &log.id(99), "x-y"] {
            let mut feed = log.follow(Some(other), Filter::default());
            assert_eq!(read(&mut feed), [-1], "{other}");
            log.record(message("a", 8));
            assert_eq!(read(&mut feed), [8], "{other}");
        }
    }

    #[test]
    fn the_id_of_a_gap_leads_to_what_follows_it() {
        let log = EventLog::new(BOUNDS);
        log.record(message("a", 1));
        let mut feed = log.follow(Some("0-0"), Filter::default());
        let id = id_of_next(&mut feed);
        log.record(message("a", 2));
        assert_eq!(read(&mut log.follow(Some(&id), Filter::default())), [2]);
    }

    #[test]
    fn the_position_leads_to_what_was_not_read_yet() {
        let log = EventLog::new(BOUNDS);
        log.record(message("a", 1));
        let mut feed = log.follow(None, Filter::default());
        let after = |id: Option<String>| log.follow(id.as_deref(), Filter::default());
        let at_first = feed.position();
        log.record(message("a", 2));
        log.record(message("a", 3));
        assert_eq!(read(&mut after(at_first)), [2, 3]);
        id_of_next(&mut feed);
        assert_eq!(read(&mut after(feed.position())), [3]);
        id_of_next(&mut feed);
        assert_eq!(read(&mut after(feed.position())), [] as [i64; 0]);
        assert_eq!(log.follow(Some("0-0"), Filter::default()).position(), None);
    }

    #[test]
    fn a_reader_holds_few_of_the_big_ones() {
        let log = EventLog::new(Bounds { events: 100, bytes: 100_000_000 });
        let mut feed = log.follow(None, Filter::default());
        for _ in 0..50 {
            let big = Message::from(Term::Bytes(vec![0; LOOK_BYTES / 4]));
            log.record(Event::now(&DeviceId::new("a").unwrap(), Happened::Message(big)));
        }
        let mut read = 0;
        while feed.try_next().is_some() {
            read += 1;
            assert!(feed.batch.len() <= 4, "{}", feed.batch.len());
        }
        assert_eq!(read, 50);
    }

    #[test]
    fn a_slow_reader_is_told_of_the_gap_and_holds_nobody_up() {
        let log = EventLog::new(BOUNDS);
        let mut feed = log.follow(None, Filter::default());
        for number in 1..=10 {
            log.record(message("a", number));
        }
        assert_eq!(read(&mut feed), [-1, 7, 8, 9, 10]);
    }

    #[test]
    fn bytes_are_bounded_too_and_the_latest_event_is_always_there() {
        let weight = message("a", 1).weight();
        let log = EventLog::new(Bounds { events: 100, bytes: 3 * weight });
        let mut feed = log.follow(None, Filter::default());
        for number in 1..=10 {
            log.record(message("a", number));
        }
        assert_eq!(read(&mut feed), [-1, 8, 9, 10]);
        let big = Message::from(Term::Bytes(vec![0; 100 * weight]));
        log.record(Event::now(&DeviceId::new("a").unwrap(), Happened::Message(big)));
        assert_eq!(log.0.ring.lock().unwrap().events.len(), 1);
        log.record(message("a", 11));
        assert_eq!(log.0.ring.lock().unwrap().events.len(), 1);
    }

    #[test]
    fn a_filter_takes_devices_and_kinds() {
        let log = EventLog::new(BOUNDS);
        let devices =
            vec![DevicePattern::new("site-*").unwrap(), DevicePattern::new("*-1").unwrap()];
        let mut of_one = log.follow(None, Filter { devices: devices.clone(), kinds: vec![] });
        let kinds = vec![EventKind::Connected, EventKind::Refused];
        let mut others = log.follow(None, Filter { devices: vec![], kinds: kinds.clone() });
        let mut neither = log.follow(None, Filter { devices, kinds });
        log.record(message("site-1", 1));
        log.record(message("site-2", 2));
        log.record(message("shop-1", 3));
        let happened = Happened::Refused { reason: "malformed", peer: None };
        log.record(Event { device: None, ..Event::now(&DeviceId::new("x").unwrap(), happened) });
        assert_eq!(read(&mut of_one), [1]);
        assert!(matches!(others.next().now_or_never(), Some(Item::Event(_))));
        assert!(others.next().now_or_never().is_none());
        assert!(neither.next().now_or_never().is_none());
    }

    #[test]
    fn its_json_is_made_once() {
        let log = EventLog::new(BOUNDS);
        let mut one = log.follow(None, Filter::default());
        let mut other = log.follow(None, Filter::default());
        log.record(message("a", 1));
        let (Some(Item::Event(one)), Some(Item::Event(other))) =
            (one.next().now_or_never(), other.next().now_or_never())
        else {
            panic!("no event");
        };
        assert_eq!(one.server_sent().as_ptr(), other.server_sent().as_ptr());
    }
}
