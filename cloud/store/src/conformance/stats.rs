//! The contract of the statistics.

use crate::stats::StoreMonitor;

/// Tests the contract of [`StoreMonitor`] on a new store: it is healthy, and nothing is pending, failed or
/// dropped.
pub fn stats(store: &impl StoreMonitor) {
    let stats = store.stats();
    assert!(stats.healthy, "{stats:?}");
    assert_eq!((stats.waiting, stats.busy, stats.failed, stats.reopened), (0, 0, 0, 0));
    assert_eq!((stats.notes_dropped, stats.audit_dropped), (0, 0));
}
