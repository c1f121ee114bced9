//! How a store is doing.

use crate::latency::LatencyHistogram;

/// Says how a store is doing.
pub trait StoreMonitor: Send + Sync + 'static {
    /// What the store has counted since it was opened.
    fn stats(&self) -> StoreStats;
}

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
