//! What was counted in each minute of the last day.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fedecks_cloud::Hub;
use tokio::time::MissedTickBehavior;

use crate::metrics::Counters;

/// What was counted in each minute of the last day, in memory. Clones are the same one.
#[derive(Clone)]
pub(crate) struct History(Arc<Shared>);

struct Shared {
    counters: Counters,
    hub: Hub,
    kept: Mutex<Kept>,
}

struct Kept {
    minutes: VecDeque<Minute>,
    /// What the counters said when the minute that goes on began.
    before: Totals,
}

/// What happened in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Minute {
    /// How many devices were connected when it ended.
    pub(crate) connected: usize,
    pub(crate) connects: u64,
    pub(crate) disconnects: u64,
    pub(crate) refusals: u64,
    pub(crate) messages: u64,
}

/// What was counted since the server began.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    connects: u64,
    disconnects: u64,
    refusals: u64,
    messages: u64,
}

const MINUTE: Duration = Duration::from_secs(60);

/// How many minutes are kept.
const KEPT: usize = 24 * 60;

impl History {
    pub(crate) fn new(counters: &Counters, hub: Hub) -> Self {
        let kept = Kept { minutes: VecDeque::new(), before: Totals::default() };
        Self(Arc::new(Shared { counters: counters.clone(), hub, kept: Mutex::new(kept) }))
    }

    /// Ends a minute each minute, for ever: run it as a task of its own beside the server.
    pub(crate) async fn keep(self) {
        let mut minutes = tokio::time::interval_at(tokio::time::Instant::now() + MINUTE, MINUTE);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            minutes.tick().await;
            let now = self.0.totals();
            let connected = self.0.hub.stats().connected;
            self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).end(now, connected);
        }
    }

    /// The minutes, the oldest first, and the one that goes on last; and when the first of them began.
    pub(crate) fn minutes(&self) -> (SystemTime, Vec<Minute>) {
        let now = self.0.totals();
        let connected = self.0.hub.stats().connected;
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let current = now.since(&kept.before, connected);
        let minutes: Vec<_> = kept.minutes.iter().copied().chain([current]).collect();
        let long = MINUTE * u32::try_from(minutes.len()).unwrap_or(u32::MAX);
        let began = SystemTime::now().checked_sub(long).unwrap_or(SystemTime::UNIX_EPOCH);
        (began, minutes)
    }
}

impl Shared {
    fn totals(&self) -> Totals {
        Totals {
            connects: self.counters.connects.get(),
            disconnects: self.counters.disconnects.get(),
            refusals: self.counters.all_refusals.get(),
            messages: self.counters.messages.get(),
        }
    }
}

impl Totals {
    fn since(&self, before: &Self, connected: usize) -> Minute {
        Minute {
            connected,
            connects: self.connects.saturating_sub(before.connects),
            disconnects: self.disconnects.saturating_sub(before.disconnects),
            refusals: self.refusals.saturating_sub(before.refusals),
            messages: self.messages.saturating_sub(before.messages),
        }
    }
}

impl Kept {
    fn end(&mut self, now: Totals, connected: usize) {
        if self.minutes.len() == KEPT {
            self.minutes.pop_front();
        }
        self.minutes.push_back(now.since(&self.before, connected));
        self.before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_has_what_was_counted_in_it_and_a_day_of_them_is_kept() {
        let mut kept = Kept { minutes: VecDeque::new(), before: Totals::default() };
        for minute in 1..=KEPT as u64 + 2 {
            let now =
                Totals { connects: minute * 3, messages: minute * minute, ..Totals::default() };
            kept.end(now, 7);
        }
        assert_eq!(kept.minutes.len(), KEPT);
        let oldest = Minute { connected: 7, connects: 3, messages: 5, ..Minute::default() };
        assert_eq!(kept.minutes.front(), Some(&oldest));
    }
}
