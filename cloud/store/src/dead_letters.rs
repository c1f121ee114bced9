//! What could not be delivered, and why. A queue keeps the latest for operators.

use crate::queue_item::QueueItem;

/// An item that its receiver rejected for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct DeadLetter {
    /// Its number: a later one has a higher number.
    pub number: u64,
    /// The item.
    pub item: QueueItem,
    /// When it was rejected, in seconds since 1970-01-01 UTC.
    pub rejected_at: u64,
    /// Why, for people.
    pub reason: String,
}

/// The oldest are deleted above these limits; the newest is always kept.
impl DeadLetter {
    /// How long one is kept, in seconds: a week.
    pub const MAX_AGE: u64 = 7 * 24 * 3600;

    /// The number of a lane.
    pub const MAX_PER_LANE: u64 = 100;

    /// About how many bytes of the store those of a lane take.
    pub const MAX_BYTES_PER_LANE: u64 = 8 * 1024 * 1024;

    /// The number of a queue.
    pub const MAX: u64 = 10_000;

    /// About how many bytes of the store those of a queue take.
    pub const MAX_BYTES: u64 = 64 * 1024 * 1024;
}
