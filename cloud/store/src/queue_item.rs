//! What waits in a queue, and how much room it takes.

use bytes::Bytes;

/// What is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads and fills it, and one that ignores a new field must not compile"
)]
pub struct QueueItem {
    /// The lane, such as a device's id. May be empty.
    pub lane: String,
    /// The id for the receiver. The queue does not compare ids.
    pub id: String,
    /// The content. Clones share it.
    pub body: Bytes,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub at: u64,
}

impl QueueItem {
    /// About how many bytes of the store it takes: its texts, its rows, and a page if it does not fit into one.
    pub fn stored_bytes(&self) -> u64 {
        let lane = 2 * self.lane.len() as u64;
        in_pages(ROW + lane + self.id.len() as u64 + self.body.len() as u64)
    }
}

/// About how many bytes of the store a row of this size takes.
pub(crate) fn in_pages(row: u64) -> u64 {
    if row < PAGE { row } else { row + PAGE }
}

/// The room in the store for an item and for its lane, without their texts; that of the lane is stored twice.
const ROW: u64 = 140;

/// A page of the store. What does not fit into one begins on a page that it may not fill.
const PAGE: u64 = 4096;
