//! `[events]`: how much of the past a stream of events can replay, and how many streams there may be.

use serde::Deserialize;

use crate::config::values::{NO_MAX, number};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Events {
    /// The number of events that a stream can replay.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) keep: usize,
    /// The memory that they may take, in bytes, approximately.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) keep_bytes: usize,
    /// The number of streams that may be open.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) streams: usize,
    /// The number of those that one API token may have, with its dashboard sessions.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) streams_per_token: usize,
}

impl Default for Events {
    fn default() -> Self {
        let keep_bytes = 16 * 1024 * 1024;
        Self { keep: 10_000, keep_bytes, streams: 1_000, streams_per_token: 100 }
    }
}
