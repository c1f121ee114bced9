//! The limits of the queue.

use crate::directory::Space;

/// The limits of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The length of a segment in bytes. One with a single bigger record is longer.
    pub segment_bytes: usize,
    /// Bytes of all segments and of what waits to be written.
    pub max_bytes: u64,
    /// Messages of all lanes.
    pub max_messages: u64,
    /// The biggest body of a message in bytes.
    pub max_body_bytes: usize,
    /// Free bytes that are left on the partition, if a tenth of it is not less.
    pub free_bytes: u64,
    /// Streams of a lane that have something waiting.
    pub streams_per_lane: usize,
}

impl Limits {
    pub(crate) fn floor(&self, space: Space) -> u64 {
        self.free_bytes.min(space.total / 10)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 256 * 1024,
            max_bytes: 16 * 1024 * 1024,
            max_messages: 50_000,
            max_body_bytes: 1024 * 1024,
            free_bytes: 8 * 1024 * 1024,
            streams_per_lane: 8,
        }
    }
}
