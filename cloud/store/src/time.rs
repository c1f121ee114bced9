//! The clock that records are dated by.

use std::time::{Duration, SystemTime};

/// The time since 1970-01-01 UTC by the system's clock; nothing if that stands before.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The same in whole seconds.
pub fn unix_now() -> u64 {
    since_1970().as_secs()
}
