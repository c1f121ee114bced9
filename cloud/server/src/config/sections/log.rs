//! `[log]`: which log lines are written, and in which format.

use serde::{Deserialize, Deserializer};
use tracing::level_filters::LevelFilter;

use crate::config::values::parsed;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    #[serde(deserialize_with = "level")]
    pub(crate) level: LevelFilter,
    pub(crate) format: LogFormat,
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
        Self { level: LevelFilter::INFO, format: LogFormat::Text }
    }
}

fn level<'de, D: Deserializer<'de>>(d: D) -> Result<LevelFilter, D::Error> {
    let expected = "must be off, error, warn, info, debug or trace";
    // Numbers and an empty text are levels to tracing, and hardly meant.
    let is_word = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
    parsed(d, |text| text.parse().ok().filter(|_| is_word(text)), expected)
}
