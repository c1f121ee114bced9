use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::notes::Notes;

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

/// How often what took how long.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyHistogram {
    /// For each of [`LatencyHistogram::BOUNDS`], how many took at most so long and longer than the
    /// bound before it; one more for those that took longer than all.
    pub counts: [u64; LatencyHistogram::BOUNDS.len() + 1],
    /// All of them together, in seconds.
    pub seconds: f64,
}

impl LatencyHistogram {
    /// The bounds, in seconds.
    pub const BOUNDS: [f64; 12] =
        [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0];

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
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

#[derive(Default)]
struct Latency {
    counts: [AtomicU64; LatencyHistogram::BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Latency {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = LatencyHistogram::BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    fn snapshot(&self) -> LatencyHistogram {
        let microseconds = self.microseconds.load(Ordering::Relaxed);
        LatencyHistogram {
            counts: std::array::from_fn(|place| self.counts[place].load(Ordering::Relaxed)),
            seconds: Duration::from_micros(microseconds).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_at_the_first_bound_that_it_does_not_exceed() {
        let latency = Latency::default();
        for milliseconds in [1, 2, 6000] {
            latency.add(Duration::from_millis(milliseconds));
        }
        let histogram = latency.snapshot();
        assert_eq!(histogram.counts, [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.count(), 3);
        assert!((histogram.seconds - 6.003).abs() < 1e-9);
    }
}
