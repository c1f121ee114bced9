//! How calls of leases run, and how a lease ends.

use std::time::Duration;

use tokio::time::Instant;

use super::call::{ANSWER_GRACE, Kind, Target, Tx, Work, run as run_call};
use super::columns::{id_to_column, to_column, unsigned};
use super::failure::Result;
use super::locks::lease as lock_lease;
use super::shared::Shared;
use crate::error::StoreError;
use crate::nodes::NodeLease;

/// How long a call may take, so that the next renewal is not late.
const LEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long [`end_own_lease`] may take.
pub(super) const END_TIME: Duration = LEASE_TIMEOUT.saturating_add(ANSWER_GRACE);

/// Ends the lease of the node `$1` with the epoch `$2`: from serving (1) to ended (2).
const END: &str = "UPDATE nodes SET state = 2, since = clock_timestamp()
    WHERE id = $1 AND epoch = $2 AND state = 1";

/// The epoch of the node `$1`, if it has a lease.
const SERVING: &str = "SELECT epoch FROM nodes WHERE id = $1 AND state = 1";

/// Runs a call on the connection for leases.
pub(super) async fn run<A, T>(
    shared: &Shared,
    kind: Kind,
    args: &A,
    work: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T>,
) -> std::result::Result<T, StoreError> {
    let since = Instant::now();
    let target = Target { pool: &shared.lease_pool, location: &shared.location, gate: None };
    let result = run_call(target, kind, since + LEASE_TIMEOUT, args, work).await;
    shared.count(kind.action(), since, &result);
    result
}

/// Ends the lease of a store that is being closed, also one that it does not know of: a call that began one may have had
/// no answer, or no one who waited for it.
pub(super) async fn end_own_lease(shared: &Shared) {
    let Some(gate) = &shared.gate else { return };
    let known = gate.last_lease();
    if let Some(lease) = known {
        gate.close(lease);
    }
    // There is one connection for leases, so a call that is in progress has ended before this one.
    let ended = match (gate.unanswered(), known) {
        (Some(node), _) => {
            run(shared, Kind::Write, &node, |tx, node| Box::pin(end_any(tx, *node))).await
        }
        (None, Some(lease)) => {
            run(shared, Kind::Write, &lease, |tx, lease| Box::pin(end(tx, *lease))).await
        }
        (None, None) => return,
    };
    if let Err(error) = ended {
        let store = &shared.location;
        tracing::warn!(%store, %error, "cannot end the lease; another server has to wait for its end");
    }
}

/// Ends the lease of a node, whichever it is.
async fn end_any(tx: &Tx, node: u64) -> Result<bool> {
    let Some(row) = tx.query_opt(SERVING, &[&id_to_column(node)]).await? else { return Ok(false) };
    end(tx, NodeLease { node, epoch: unsigned(&row, 0)? }).await
}

pub(super) async fn end(tx: &Tx, lease: NodeLease) -> Result<bool> {
    let (node, epoch) = (id_to_column(lease.node), to_column(lease.epoch));
    lock_lease(tx, epoch).await?;
    Ok(tx.execute(END, &[&node, &epoch]).await? > 0)
}
