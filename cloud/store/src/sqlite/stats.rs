//! What the store counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::notes::Notes;
use crate::latency::Latency;
use crate::stats::StoreStats;

/// Whether a call looks or changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    Write,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

pub(super) struct Counters {
    reads: Latency,
    writes: Latency,
    busy: AtomicU64,
    failed: AtomicU64,
    healthy: AtomicBool,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            reads: Latency::default(),
            writes: Latency::default(),
            busy: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
        }
    }
}

impl Counters {
    /// A call that was answered, well or not.
    pub(super) fn answered(&self, action: Action, took: Duration) {
        match action {
            Action::Read => self.reads.add(took),
            Action::Write => self.writes.add(took),
        }
    }

    /// A call that did not get its turn.
    pub(super) fn refused(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// A call that did not get the file in time.
    pub(super) fn held(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.healthy.store(false, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.healthy.store(false, Ordering::Relaxed);
    }

    pub(super) fn went_well(&self) {
        self.healthy.store(true, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, notes: &Notes, reopened: u64) -> StoreStats {
        let (notes_dropped, audit_dropped) = notes.dropped();
        StoreStats {
            reads: self.reads.snapshot(),
            writes: self.writes.snapshot(),
            busy: self.busy.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            reopened,
            notes_dropped,
            audit_dropped,
            waiting: notes.waiting(),
            healthy: self.healthy.load(Ordering::Relaxed),
        }
    }
}
