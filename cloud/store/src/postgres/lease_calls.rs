//! How calls of leases run, and how a lease ends.

use std::time::Duration;

use tokio::time::Instant;

use super::call::{Kind, Target, Tx, Work, run as run_call};
use super::columns::{id_to_column, to_column};
use super::failure::Result;
use super::locks::lease as lock_lease;
use super::shared::Shared;
use crate::error::StoreError;
use crate::nodes::NodeLease;

/// How long a call may take, so that the next renewal is not late.
const LEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Ends the lease of the node `$1` with the epoch `$2`: from serving (1) to ended (2).
const END: &str = "UPDATE nodes SET state = 2, since = clock_timestamp()
    WHERE id = $1 AND epoch = $2 AND state = 1";

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

/// Ends the lease of a store that is being closed.
pub(super) async fn end_own_lease(shared: &Shared) {
    let Some(gate) = &shared.gate else { return };
    let Some(lease) = gate.last_lease() else { return };
    gate.close(lease);
    let ended = run(shared, Kind::Write, &lease, |tx, lease| Box::pin(end(tx, *lease))).await;
    if let Err(error) = ended {
        let store = &shared.location;
        tracing::warn!(%store, %error, "cannot end the lease; another server has to wait for its end");
    }
}

pub(super) async fn end(tx: &Tx, lease: NodeLease) -> Result<bool> {
    let (node, epoch) = (id_to_column(lease.node), to_column(lease.epoch));
    lock_lease(tx, epoch).await?;
    Ok(tx.execute(END, &[&node, &epoch]).await? > 0)
}
