//! The counts of each minute of the last 24 hours, in memory. The counters are in `metrics`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fedecks_cloud::Hub;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::metrics::DeviceCounters;

/// The counts of each minute of the last 24 hours. Clones share them.
#[derive(Clone)]
pub(crate) struct History(Arc<Shared>);

struct Shared {
    counters: DeviceCounters,
    hub: Hub,
    minutes: Mutex<Minutes>,
}

#[derive(Default)]
struct Minutes {
    complete: VecDeque<Counts>,
    /// The counts at the beginning of the current minute.
    before: Counts,
}

/// What happened in a minute, or since the server started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// How many devices were connected at the end, to all servers.
    pub(crate) connected: usize,
    pub(crate) connects: u64,
    pub(crate) disconnects: u64,
    pub(crate) refusals: u64,
    pub(crate) messages: u64,
}

const MINUTE: Duration = Duration::from_secs(60);

/// How many complete minutes are kept.
const KEPT: usize = 24 * 60;

impl History {
    pub(crate) fn new(counters: &DeviceCounters, hub: Hub) -> Self {
        let (counters, minutes) = (counters.clone(), Mutex::default());
        Self(Arc::new(Shared { counters, hub, minutes }))
    }

    /// Completes a minute every minute. Never returns: run it as a task.
    pub(crate) async fn run(self) {
        let mut ticks = interval_at(Instant::now() + MINUTE, MINUTE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.0.now();
            self.0.minutes.lock().complete(now);
        }
    }

    /// When the first minute began, and all minutes, oldest first. The last is the current one.
    pub(crate) fn minutes(&self) -> (SystemTime, Vec<Counts>) {
        let now = self.0.now();
        let kept = self.0.minutes.lock();
        let current = now.since(&kept.before);
        let minutes: Vec<_> = kept.complete.iter().copied().chain([current]).collect();
        let span = MINUTE * u32::try_from(minutes.len()).unwrap_or(u32::MAX);
        let began = SystemTime::now().checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH);
        (began, minutes)
    }
}

impl Shared {
    /// The counts since the server started.
    fn now(&self) -> Counts {
        Counts {
            connected: self.hub.connected(),
            connects: self.counters.connects.get(),
            disconnects: self.counters.disconnects.get(),
            refusals: self.counters.refusals.get(),
            messages: self.counters.messages.get(),
        }
    }
}

impl Counts {
    fn since(&self, before: &Self) -> Self {
        Self {
            connected: self.connected,
            connects: self.connects.saturating_sub(before.connects),
            disconnects: self.disconnects.saturating_sub(before.disconnects),
            refusals: self.refusals.saturating_sub(before.refusals),
            messages: self.messages.saturating_sub(before.messages),
        }
    }
}

impl Minutes {
    fn complete(&mut self, now: Counts) {
        if self.complete.len() == KEPT {
            self.complete.pop_front();
        }
        self.complete.push_back(now.since(&self.before));
        self.before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_its_own_counts_and_a_day_of_them_is_kept() {
        let mut minutes = Minutes::default();
        for minute in 1..=KEPT as u64 + 2 {
            let (connects, messages) = (minute * 3, minute * minute);
            minutes.complete(Counts { connected: 7, connects, messages, ..Counts::default() });
        }
        assert_eq!(minutes.complete.len(), KEPT);
        let oldest = Counts { connected: 7, connects: 3, messages: 5, ..Counts::default() };
        assert_eq!(minutes.complete.front(), Some(&oldest));
    }
}
