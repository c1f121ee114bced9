//! The memory for what is fetched to be sent, a part of what all sessions may have to send.

use std::sync::Arc;

use fedecks_protocol::Lane;

use crate::byte_pool::{BytePool, FREE};

/// Memory of what all sessions may have to send.
pub(in crate::session) struct Memory {
    pool: Arc<BytePool>,
    bytes: usize,
}

impl Memory {
    /// Takes room for messages that are going to be fetched. The lane normal leaves a part for the other one.
    pub(super) fn take(pool: &Arc<BytePool>, lane: Lane, bytes: u64) -> Option<Self> {
        let bytes = FREE + usize::try_from(bytes).unwrap_or(usize::MAX);
        let taken = match lane {
            Lane::Normal => pool.try_send(bytes),
            Lane::Urgent => pool.try_change(0, bytes),
        };
        taken.then(|| Self { pool: pool.clone(), bytes })
    }

    /// What they do take, of which a single one may be bigger.
    pub(super) fn change(&mut self, bytes: usize) {
        self.pool.change(self.bytes, FREE + bytes);
        self.bytes = FREE + bytes;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.pool.change(self.bytes, 0);
    }
}
