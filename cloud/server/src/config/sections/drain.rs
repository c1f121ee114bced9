//! `[drain]`: how the server disconnects its devices when it stops.

use std::time::Duration;

use serde::Deserializer;

use crate::config::values::{duration, duration_if};

#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Drain {
    /// The time over which devices spread their return.
    #[serde(deserialize_with = "duration")]
    pub(crate) spread: Duration,
    /// When the server closes the connections that are still open.
    #[serde(deserialize_with = "at_most_an_hour")]
    pub(crate) deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { spread: Duration::from_secs(30), deadline: Duration::from_secs(45) }
    }
}

/// No operator waits longer, and systemd cannot be asked for much more.
fn at_most_an_hour<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    duration_if(d, |duration| duration <= Duration::from_secs(3600), "must be at most 1h")
}
