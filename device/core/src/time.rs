//! The time, as an argument.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time as the driver counts it: the time since some fixed point, going on while the
/// device is suspended and never going back. On Linux the driver takes `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(Duration);

impl Time {
    /// The time that is `since` after the fixed point.
    pub const fn new(since: Duration) -> Self {
        Self(since)
    }

    /// How long after the fixed point this is.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; nothing if it was not earlier.
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
