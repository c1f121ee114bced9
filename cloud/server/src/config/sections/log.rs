//! `[log]`: which log lines are written, in which format, and how many.

use fedecks_common::RateLimit;
use serde::{Deserialize, Deserializer};
use tracing::level_filters::LevelFilter;

use crate::config::values::{MAX_U32, number, parsed};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    #[serde(deserialize_with = "level")]
    pub(crate) level: LevelFilter,
    pub(crate) format: LogFormat,
    /// How many bytes of lines may wait for the reader of standard error.
    #[serde(deserialize_with = "number::<_, _, 8192, 1_073_741_824>")]
    pub(crate) queue_bytes: usize,
    /// How many lines of one kind are written per second; 0 for all.
    #[serde(deserialize_with = "number::<_, _, 0, MAX_U32>")]
    pub(crate) lines_per_second: u32,
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    /// How many are written at once after a quiet time.
    pub(crate) line_burst: u32,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            format: LogFormat::Text,
            queue_bytes: 1024 * 1024,
            lines_per_second: 100,
            line_burst: 1000,
        }
    }
}

impl Log {
    /// How many lines of one kind are written.
    pub(crate) fn limit(&self) -> Option<RateLimit> {
        RateLimit::per_second(self.lines_per_second, self.line_burst)
    }
}

fn level<'de, D: Deserializer<'de>>(d: D) -> Result<LevelFilter, D::Error> {
    let expected = "must be off, error, warn, info, debug or trace";
    // Numbers and an empty text are levels to tracing, and hardly meant.
    let is_word = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
    parsed(d, |text| text.parse().ok().filter(|_| is_word(text)), expected)
}
