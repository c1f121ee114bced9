//! A clock for tests, which shows what it is set to.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::source::ClockSource;

/// A clock that shows what it is set to, at first the year 1970 and not synchronized. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<Mutex<(u64, bool)>>);

impl ManualClock {
    /// Sets the time, in seconds since 1970, and whether the clock calls itself synchronized.
    pub fn set(&self, now: u64, synchronized: bool) {
        *self.0.lock() = (now, synchronized);
    }
}

impl ClockSource for ManualClock {
    fn since_1970(&self) -> Duration {
        Duration::from_secs(self.0.lock().0)
    }

    fn is_synchronized(&self) -> bool {
        self.0.lock().1
    }
}
