//! The time of records.

use std::time::{Duration, SystemTime};

/// The time since 1970-01-01 UTC by the system's clock; 0 if the clock is before 1970.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// [`since_1970`] in whole seconds.
pub fn unix_now() -> u64 {
    since_1970().as_secs()
}
