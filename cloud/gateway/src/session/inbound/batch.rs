//! What is handled and waits to be stored, in one transaction.

use std::time::Duration;

use fedecks_delivery::Outcome as Done;
use fedecks_protocol::StreamId;
use fedecks_store::Step;

/// What is stored together.
#[derive(Default)]
pub(in crate::session) struct Batch {
    pending: Vec<Pending>,
    bytes: usize,
    /// Since when the first one waits.
    since: Duration,
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

/// A batch is stored after so long, even if there is more to handle.
const AGE: Duration = Duration::from_millis(250);

impl Batch {
    pub(super) fn push(&mut self, pending: Pending, bytes: usize, now: Duration) {
        if self.pending.is_empty() {
            self.since = now;
        }
        self.pending.push(pending);
        self.bytes += bytes;
    }

    pub(in crate::session) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it is full or old.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let is_full = self.pending.len() >= MESSAGES || self.bytes >= BYTES;
        is_full || (!self.is_empty() && now >= self.since + AGE)
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

    /// How many of the first `count` steps are of messages.
    pub(in crate::session) fn messages(&self, count: usize) -> u64 {
        let steps = self.pending.iter().take(count);
        steps.filter(|pending| pending.step.to.tag.0 != 0).count() as u64
    }

    /// The rejected numbers of the first `count` steps.
    pub(in crate::session) fn rejected(
        &self,
        count: usize,
    ) -> impl Iterator<Item = (StreamId, u64)> {
        self.pending.iter().take(count).filter_map(|pending| {
            let (_, sequence, done) = pending.done?;
            (done == Done::Rejected).then_some((pending.step.to.stream, sequence))
        })
    }

    /// Whether a stream continues behind numbers that its device no longer has.
    pub(in crate::session) fn has_gap(&self) -> bool {
        self.pending.iter().any(|pending| pending.done.is_none())
    }

    pub(super) fn into_pending(self) -> Vec<Pending> {
        self.pending
    }
}
