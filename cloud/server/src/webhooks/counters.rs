//! What a webhook has counted since the server began.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) delivered: AtomicU64,
    /// Attempts that failed; each is made again.
    pub(crate) failed: AtomicU64,
    /// Events that were given up: too old, too many, or missed before they were in the store.
    pub(crate) dropped: AtomicU64,
    /// Events in the store that wait for their turn.
    pub(crate) pending: AtomicU64,
    /// How many bytes they are.
    pub(crate) pending_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}
