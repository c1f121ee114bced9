//! The clock of a queue: it advances only while a server runs, so that no wrong clock of the machine holds an event
//! back or ends it early.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) struct QueueClock {
    /// Its time when it was started.
    base: Duration,
    started: Instant,
}

impl QueueClock {
    /// Continues from the time of the last change of the queue.
    pub(super) fn continue_from(base: Duration) -> Self {
        Self { base, started: Instant::now() }
    }

    pub(super) fn now(&self) -> Duration {
        self.base + self.started.elapsed()
    }

    /// When it shows this time.
    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.started + time.saturating_sub(self.base)
    }
}
