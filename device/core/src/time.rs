//! A point in time, which is always an argument: the core has no clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, as the time since an epoch that the driver chooses. It includes the time in suspend
/// and never goes back; on Linux the driver uses `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(Duration);

impl Time {
    /// The time `since` the epoch.
    pub const fn new(since: Duration) -> Self {
        Self(since)
    }

    /// The time since the epoch.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time since `earlier`; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}
