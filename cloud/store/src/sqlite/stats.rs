//! What the store counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::notes::Notes;
use crate::latency::{Latency, LatencyHistogram};

/// What a store has counted since it was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreStats {
    /// How long reading calls took, from the call to its answer.
    pub reads: LatencyHistogram,
    /// How long changing calls took.
    pub writes: LatencyHistogram,
    /// Calls that failed because too many were waiting, or another process held the file for too
    /// long.
    pub busy: u64,
    /// Calls that failed because the file or its disk did.
    pub failed: u64,
    /// How often the file was opened again after it failed or was replaced.
    pub reopened: u64,
    /// Notes of devices that were seen and of API tokens that were used, which were dropped because
    /// too many were waiting.
    pub notes_dropped: u64,
    /// Lines of the audit log that were dropped for the same reason.
    pub audit_dropped: u64,
    /// Notes and lines of the audit log that wait to be written.
    pub waiting: u64,
    /// Whether the last that was tried with the file went well.
    pub healthy: bool,
}

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
