//! The bounded log of events. Its readers are in `reader`.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::entry::{Content, LogEntry, OtherEvent, Reach, id};
use super::event::Event;

/// The latest events, bounded in number and in bytes. Recording never waits for a reader: one that
/// falls too far behind gets a gap instead. Clones share the same log.
#[derive(Clone)]
pub(crate) struct EventLog(Arc<Shared>);

struct Shared {
    /// Distinguishes the ids of this run of the server from those of another.
    instance: u64,
    bounds: Bounds,
    /// Held to move entries only: what depends on their size or on a reader's filter is done outside.
    ring: Mutex<Ring>,
    /// The number of the next event. Wakes the readers.
    next: watch::Sender<u64>,
    /// Turns to render a big event.
    renderers: Arc<Semaphore>,
}

/// How much the log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) events: usize,
    /// The approximate number of bytes, with the text of each. A single event may be bigger.
    pub(crate) bytes: usize,
}

struct Ring {
    entries: VecDeque<Arc<LogEntry>>,
    bytes: usize,
    /// The number of the next event, counted from 1.
    next: u64,
    /// The number of the latest event for webhooks that has left; 0 if none has.
    left_for_webhooks: u64,
}

/// The entry that a reader asked for has left the log.
#[derive(Debug)]
pub(super) struct Missed {
    /// The number of the first one that there is.
    pub(super) first: u64,
    /// Whether one that webhooks get is among those that have left.
    pub(super) for_webhooks: bool,
}

/// The size of an event, with its text, that is rendered at once. Bigger ones take milliseconds and several times their
/// size, and are rendered by threads that nothing else waits for.
const SMALL: usize = 32 * 1024;

/// How many events a reader reads from the log at a time.
const BATCH: usize = 64;

/// How many big events are rendered at a time.
const RENDERERS: usize = 2;

impl EventLog {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared {
            instance: rand::random(),
            bounds,
            ring: Mutex::new(Ring {
                entries: VecDeque::new(),
                bytes: 0,
                next: 1,
                left_for_webhooks: 0,
            }),
            next: watch::Sender::new(1),
            renderers: Arc::new(Semaphore::new(RENDERERS)),
        }))
    }

    /// Adds an event, and drops the oldest ones that exceed the bounds.
    pub(crate) fn record(&self, event: Event) {
        self.add(Content::Own(event, Reach::All));
    }

    /// Adds an event that every server records, like [`EventLog::record`].
    pub(super) fn record_for(&self, event: Event, reach: Reach) {
        self.add(Content::Own(event, reach));
    }

    /// Adds an event of another server, like [`EventLog::record`].
    pub(super) fn record_other(&self, event: OtherEvent) {
        self.add(Content::Other(event));
    }

    /// Adds that events of other servers are missing here.
    pub(super) fn record_gap(&self) {
        self.add(Content::Gap);
    }

    fn add(&self, content: Content) {
        let Shared { instance, bounds, ring, next, .. } = &*self.0;
        let mut entry = LogEntry::new(*instance, 0, content);
        // Freed after the lock is released.
        let mut dropped = Vec::new();
        let number = {
            let mut ring = ring.lock();
            entry.number = ring.next;
            ring.next += 1;
            ring.bytes += entry.weight();
            ring.entries.push_back(Arc::new(entry));
            ring.evict(bounds, &mut dropped);
            ring.next
        };
        // Two recorders may get here in the other order, so readers only take this as a wake-up.
        next.send_replace(number);
    }

    /// Changes with each event that is recorded.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.next.subscribe()
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> u64 {
        self.0.ring.lock().next
    }

    /// An entry with its text; `None` if it has left the log. Cancel safe.
    pub(super) async fn rendered(&self, entry: &Weak<LogEntry>) -> Option<Arc<LogEntry>> {
        let found = entry.upgrade()?;
        if found.is_rendered() {
            return Some(found);
        }
        if found.weight() <= SMALL {
            found.render();
            return Some(found);
        }
        // Nothing is kept alive by waiting for a turn.
        drop(found);
        let turn = self.0.renderers.clone().acquire_owned().await;
        let found = entry.upgrade()?;
        let rendering = found.clone();
        let render = move || {
            rendering.render();
            drop((rendering, turn));
        };
        // Fails only when the runtime ends.
        let _ = tokio::task::spawn_blocking(render).await;
        Some(found)
    }

    /// The entries from this number on, at most [`BATCH`], unless it has left the log.
    pub(super) fn read(&self, from: u64) -> Result<Vec<Arc<LogEntry>>, Missed> {
        let ring = self.0.ring.lock();
        let at = ring.place(from).ok_or_else(|| Missed {
            first: ring.first(),
            for_webhooks: ring.left_for_webhooks >= from,
        })?;
        Ok(ring.entries.range(at.min(ring.entries.len())..).take(BATCH).map(Arc::clone).collect())
    }

    /// The number of entries, and their bytes.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        let ring = self.0.ring.lock();
        (ring.entries.len(), ring.bytes)
    }

    /// The instance of the log.
    pub(super) fn instance(&self) -> u64 {
        self.0.instance
    }

    pub(super) fn number_of(&self, id: &str) -> Option<u64> {
        let (instance, number) = parts(id)?;
        if instance == self.0.instance { Some(number) } else { None }
    }

    /// The number of the latest event here that was in the log of another server at the place that this id names there, or
    /// before it.
    pub(super) fn number_of_other(&self, id: &str) -> Option<u64> {
        let (instance, number) = parts(id)?;
        let ring = self.0.ring.lock();
        let reaches = |(of, at): (u64, u64)| of == instance && at <= number;
        let mut latest_first = ring.entries.iter().rev();
        latest_first.find(|entry| reaches(entry.origin())).map(|entry| entry.number)
    }

    pub(super) fn id(&self, number: u64) -> String {
        id(self.0.instance, number)
    }
}

fn parts(id: &str) -> Option<(u64, u64)> {
    let (instance, number) = id.split_once('-')?;
    Some((u64::from_str_radix(instance, 16).ok()?, number.parse().ok()?))
}

impl Ring {
    /// The number of the oldest event, or of the next one if there is none.
    fn first(&self) -> u64 {
        self.entries.front().map_or(self.next, |entry| entry.number)
    }

    /// The place of an event; `None` if it has left the log.
    fn place(&self, number: u64) -> Option<usize> {
        number.checked_sub(self.first()).map(|at| usize::try_from(at).unwrap_or(usize::MAX))
    }

    /// Moves the oldest entries that exceed the bounds to `dropped`. The latest always stays.
    fn evict(&mut self, bounds: &Bounds, dropped: &mut Vec<Arc<LogEntry>>) {
        while self.entries.len() > 1
            && (self.entries.len() > bounds.events || self.bytes > bounds.bytes)
        {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.weight();
            if oldest.is_for_webhooks() {
                self.left_for_webhooks = oldest.number;
            }
            dropped.push(oldest);
        }
    }
}
