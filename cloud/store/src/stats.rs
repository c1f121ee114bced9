//! The health and load of a store.

use crate::latency::LatencyHistogram;

/// Reports the health and load of a store.
pub trait StoreMonitor: Send + Sync + 'static {
    /// Counted since the store was opened.
    fn stats(&self) -> StoreStats;
}

/// Counted since a store was opened. By default nothing is counted, and the store is not healthy.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Latency of reads, from the call to its answer.
    pub reads: LatencyHistogram,
    /// Latency of writes.
    pub writes: LatencyHistogram,
    /// Calls that failed because too many were queued, or another process locked the file for too
    /// long.
    pub busy: u64,
    /// Calls that failed because of the file or its disk, or of the database or the connection to it.
    pub failed: u64,
    /// How often the file was reopened after it failed or was replaced.
    pub reopened: u64,
    /// Notes about seen devices and used API tokens that were dropped because too many were pending.
    pub notes_dropped: u64,
    /// Lines of the audit log that were dropped for the same reason.
    pub audit_dropped: u64,
    /// Notes and lines of the audit log that are not written yet.
    pub waiting: u64,
    /// Whether the last access to the file succeeded.
    pub healthy: bool,
}

impl StoreStats {
    /// These numbers after `change`, for a store of your own.
    ///
    /// ```
    /// # mod fedecks_cloud { pub use fedecks_store as store; }
    /// use fedecks_cloud::store::{Latency, StoreMonitor, StoreStats};
    ///
    /// struct MyStore {
    ///     reads: Latency,
    ///     writes: Latency,
    /// }
    ///
    /// impl StoreMonitor for MyStore {
    ///     fn stats(&self) -> StoreStats {
    ///         StoreStats::default().with(|it| {
    ///             it.reads = self.reads.snapshot();
    ///             it.writes = self.writes.snapshot();
    ///             it.healthy = true;
    ///         })
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}
