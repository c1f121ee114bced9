//! Tests of what a store says of itself.

use crate::stats::StoreMonitor;

/// Holds a fresh store to the contract of [`StoreMonitor`]: it is healthy, and nothing waits, failed or
/// was dropped.
pub fn stats(store: &impl StoreMonitor) {
    let stats = store.stats();
    assert!(stats.healthy, "{stats:?}");
    assert_eq!((stats.waiting, stats.busy, stats.failed, stats.reopened), (0, 0, 0, 0));
    assert_eq!((stats.notes_dropped, stats.audit_dropped), (0, 0));
}
