//! Until when a store that needs a lease may write.

use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;

use crate::nodes::{COMMIT_TIME, NodeLease};

/// Until when a [`PostgresStore`](crate::PostgresStore) with
/// [`needs_lease`](crate::PostgresOptions::needs_lease) may write. It is open for [`COMMIT_TIME`] after the beginning of
/// the last successful renewal, by a clock that continues while the machine is suspended; the store opens and closes it
/// by itself. While it is closed, changes fail with [`StoreError::NoLease`](crate::StoreError::NoLease).
///
/// Why nothing is committed after another server has taken over: a change looks at the gate before it begins and again
/// before COMMIT, which is 5 s before anyone may end the lease. A process may be stopped between the look and COMMIT.
/// But its transaction has held a lock since it began, for which one that ends the lease waits, and a transaction that
/// begins later finds that the lease has ended; so this needs no clock to be right. A process that stays stopped delays
/// others for at most 4 s: then the database aborts its idle transaction (`idle_in_transaction_session_timeout`).
#[derive(Debug, Clone, Default)]
pub struct LeaseGate(Arc<Mutex<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    open: Option<Open>,
    /// The node that has asked for a lease, until there is an answer.
    asked: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    lease: NodeLease,
    /// By [`boot_time`].
    until: Duration,
}

/// The time since the machine's start, which continues while it is suspended.
pub(super) fn boot_time() -> Duration {
    // Should there be no such clock, the gate is never open.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

impl LeaseGate {
    /// For how much longer it is open if no renewal follows.
    pub fn left(&self) -> Option<Duration> {
        let open = self.0.lock().open;
        open?.until.checked_sub(boot_time()).filter(|left| !left.is_zero())
    }

    /// The lease under which changes may be made now.
    pub fn lease(&self) -> Option<NodeLease> {
        let open = self.0.lock().open;
        open.filter(|open| boot_time() < open.until).map(|open| open.lease)
    }

    /// The lease that has begun and is not known to have ended.
    pub(super) fn last_lease(&self) -> Option<NodeLease> {
        self.0.lock().open.map(|open| open.lease)
    }

    /// A node asks for a lease.
    pub(super) fn ask(&self, node: u64) {
        self.0.lock().asked = Some(node);
    }

    /// The node that has asked has its answer.
    pub(super) fn answered(&self) {
        self.0.lock().asked = None;
    }

    /// The node that has asked for a lease without an answer, and so may have one.
    pub(super) fn unanswered(&self) -> Option<u64> {
        self.0.lock().asked
    }

    /// A lease has begun, or was renewed, by a call that began at this time.
    pub(super) fn open(&self, lease: NodeLease, began: Duration) {
        let mut state = self.0.lock();
        let until = began.saturating_add(COMMIT_TIME);
        match state.open.as_mut() {
            Some(open) if open.lease.epoch > lease.epoch => {}
            Some(open) if open.lease == lease => open.until = open.until.max(until),
            _ => state.open = Some(Open { lease, until }),
        }
    }

    /// A lease has ended.
    pub(super) fn close(&self, lease: NodeLease) {
        let mut state = self.0.lock();
        if state.open.is_some_and(|open| open.lease == lease) {
            state.open = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_open_until_some_time_after_a_renewal_began() {
        let gate = LeaseGate::default();
        let lease = NodeLease { node: 7, epoch: 3 };
        assert_eq!((gate.lease(), gate.left()), (None, None));
        let now = boot_time();
        gate.open(lease, now);
        assert_eq!(gate.lease(), Some(lease));
        assert!(gate.left().is_some_and(|left| left <= COMMIT_TIME));
        // The answer to an earlier renewal takes nothing away.
        gate.open(lease, now.saturating_sub(COMMIT_TIME));
        assert_eq!(gate.lease(), Some(lease));
        gate.close(NodeLease { epoch: 2, ..lease });
        assert_eq!(gate.lease(), Some(lease));
        gate.open(NodeLease { epoch: 2, ..lease }, now);
        assert_eq!(gate.lease(), Some(lease));
        gate.close(lease);
        assert_eq!((gate.lease(), gate.left(), gate.last_lease()), (None, None, None));

        gate.open(lease, now.saturating_sub(COMMIT_TIME));
        assert_eq!((gate.lease(), gate.left(), gate.last_lease()), (None, None, Some(lease)));
    }
}
