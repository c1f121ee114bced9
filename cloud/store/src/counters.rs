//! The counters of a store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::latency::Latency;
use crate::notes::WriteBehind;
use crate::stats::StoreStats;

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Write,
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    reads: Latency,
    writes: Latency,
    busy: AtomicU64,
    failed: AtomicU64,
    unhealthy: AtomicBool,
}

impl Counters {
    /// A call was answered, with a result or an error.
    pub(crate) fn answered(&self, action: Action, took: Duration) {
        match action {
            Action::Read => self.reads.add(took),
            Action::Write => self.writes.add(took),
        }
    }

    /// A call was refused because too many were queued.
    pub(crate) fn refused(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// A call timed out while it waited for the database.
    pub(crate) fn timed_out(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.unhealthy.store(true, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.unhealthy.store(true, Ordering::Relaxed);
    }

    pub(crate) fn succeeded(&self) {
        self.unhealthy.store(false, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, write_behind: &WriteBehind, reopened: u64) -> StoreStats {
        let (notes_dropped, audit_dropped) = write_behind.dropped();
        StoreStats {
            reads: self.reads.snapshot(),
            writes: self.writes.snapshot(),
            busy: self.busy.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            reopened,
            notes_dropped,
            audit_dropped,
            waiting: write_behind.len(),
            healthy: !self.unhealthy.load(Ordering::Relaxed),
        }
    }
}
