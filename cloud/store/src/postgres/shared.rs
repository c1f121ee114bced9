//! What the calls of a store and its flusher have in common.

use std::sync::Arc;

use deadpool_postgres::Pool;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::audit_log::AuditLog;
use super::call::Target;
use super::identity::Identities;
use super::lanes::Lanes;
use super::lease_gate::LeaseGate;
use crate::counters::{Action, Counters};
use crate::error::StoreError;
use crate::notes::WriteBehind;
use crate::refused_before::RefusedBefore;

/// What the calls and the flusher have in common.
pub(super) struct Shared {
    pub(super) location: String,
    pub(super) pool: Pool,
    /// The connection for renewals, so that they wait for nothing else.
    pub(super) lease_pool: Pool,
    /// If nothing is written without a lease.
    pub(super) gate: Option<LeaseGate>,
    pub(super) notes: WriteBehind,
    pub(super) counters: Counters,
    pub(super) identities: Arc<Identities>,
    pub(super) log: AuditLog,
    pub(super) refused_before: RefusedBefore,
    pub(super) lanes: Lanes,
    pub(super) closing: Notify,
}

impl Shared {
    /// Where calls run, and with which lease.
    pub(super) fn target(&self) -> Target<'_> {
        Target { pool: &self.pool, location: &self.location, gate: self.gate.as_ref() }
    }

    /// Counts the answer to a call.
    pub(super) fn count<T>(&self, action: Action, since: Instant, result: &Result<T, StoreError>) {
        match result {
            Ok(_) | Err(StoreError::Exists { .. } | StoreError::TooMany { .. }) => {
                self.counters.succeeded();
            }
            Err(StoreError::Busy { .. }) => self.counters.timed_out(),
            Err(_) => self.counters.failed(),
        }
        self.counters.answered(action, since.elapsed());
    }
}
