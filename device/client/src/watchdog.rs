//! Proves to a watchdog that the event loop makes progress.

use std::time::Duration;

use fedecks_device_core::Time;

/// Fed by the loop at least once per interval, which proves that the loop makes progress.
pub(crate) struct Watchdog {
    interval: Duration,
    feed: Box<dyn FnMut() + Send>,
    last_fed: Option<Time>,
}

impl Watchdog {
    pub(crate) fn new(interval: Duration, feed: impl FnMut() + Send + 'static) -> Self {
        Self { interval, feed: Box::new(feed), last_fed: None }
    }

    /// Feeds it if half the interval has passed since the last time, so a loop that iterates often
    /// enough is never woken just for this. Returns the deadline for the next iteration.
    pub(crate) fn on_iteration(&mut self, now: Time) -> Time {
        let last = match self.last_fed {
            Some(last) if now - last < self.interval / 2 => last,
            _ => {
                (self.feed)();
                *self.last_fed.insert(now)
            }
        };
        last + self.interval
    }
}
