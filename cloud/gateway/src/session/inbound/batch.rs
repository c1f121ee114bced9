//! What is handled and waits to be stored, in one transaction.

use fedecks_delivery::Outcome as Done;
use fedecks_store::Step;

/// What is stored together.
#[derive(Default)]
pub(in crate::session) struct Batch {
    pending: Vec<Pending>,
    bytes: usize,
}

pub(super) struct Pending {
    /// The number of a stream that may be acknowledged then.
    pub(super) done: Option<(u64, u64, Done)>,
    pub(super) step: Step,
    /// Called then.
    pub(super) then: Option<Box<dyn FnOnce() + Send>>,
}

/// The number of messages of a full batch.
const MESSAGES: usize = 32;

/// About how many bytes a full batch has.
const BYTES: usize = 64 * 1024;

impl Batch {
    pub(super) fn push(&mut self, pending: Pending, bytes: usize) {
        self.pending.push(pending);
        self.bytes += bytes;
    }

    pub(in crate::session) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(in crate::session) fn is_full(&self) -> bool {
        self.pending.len() >= MESSAGES || self.bytes >= BYTES
    }

    /// What it takes in memory, in bytes.
    pub(in crate::session) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::session) fn steps(&self) -> Vec<Step> {
        self.pending.iter().map(|pending| pending.step.clone()).collect()
    }

    pub(in crate::session) fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many messages are in it.
    pub(in crate::session) fn messages(&self) -> u64 {
        self.pending.iter().filter(|pending| pending.step.to.tag.0 != 0).count() as u64
    }

    pub(super) fn into_pending(self) -> Vec<Pending> {
        self.pending
    }
}
