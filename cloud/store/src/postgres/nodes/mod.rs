//! Nodes and their leases: calls with a dedicated connection and deadline.

#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod several_tests;
mod sql;
#[cfg(test)]
mod tests;

use super::call::{Kind, Tx, Work};
use super::columns::{get, id_to_column, text, to_column, unsigned};
use super::failure::Result;
use super::lease_calls::{end, run};
use super::lease_gate::boot_time;
use super::locks;
use super::store::PostgresStore;
use crate::boxed::StoreFuture;
use crate::nodes::{Admission, LeaseOutcome, NewNode, NodeLease, NodeRecord, NodeStore, Renewal};

/// The largest length of a name, in characters.
const MAX_NAME_CHARS: usize = 255;

/// Whether a store has the table of nodes.
#[cfg(feature = "sqlite")]
pub(super) const HAS_NODES: &str = "SELECT to_regclass('nodes') IS NOT NULL";

/// The name of a node that has a lease.
#[cfg(feature = "sqlite")]
pub(super) const SERVER_IF_ANY: &str = "SELECT name FROM nodes WHERE state = 1 LIMIT 1";

impl NodeStore for PostgresStore {
    fn begin_lease<'a>(
        &'a self,
        node: &'a NewNode,
        admission: Admission,
    ) -> StoreFuture<'a, LeaseOutcome> {
        Box::pin(async move {
            let began = boot_time();
            if let Some(gate) = &self.shared.gate {
                gate.ask(node.id);
            }
            let name: String = text(&node.name).chars().take(MAX_NAME_CHARS).collect();
            // By itself, so that it counts although the next call may have to wait for a transaction of a dead node.
            self.lease_call(Kind::Write, (id_to_column(node.id), name), |tx, (node, name)| {
                Box::pin(async move {
                    tx.execute(sql::ADD, &[node, name]).await?;
                    tx.execute(&sql::wait(), &[node, name]).await
                })
            })
            .await?;
            let args = (node.id, admission == Admission::Alone);
            let outcome = self
                .lease_call(Kind::Write, args, |tx, (node, alone)| {
                    Box::pin(begin(tx, *node, *alone))
                })
                .await?;
            if let Some(gate) = &self.shared.gate {
                if let LeaseOutcome::Begun { lease, .. } = &outcome {
                    gate.open(*lease, began);
                }
                gate.answered();
            }
            Ok(outcome)
        })
    }

    fn renew_lease<'a>(&'a self, lease: &'a NodeLease) -> StoreFuture<'a, Renewal> {
        Box::pin(async move {
            let began = boot_time();
            let renewed = self
                .lease_call(Kind::Write, *lease, |tx, lease| {
                    Box::pin(async move {
                        let values = (id_to_column(lease.node), to_column(lease.epoch));
                        tx.query_opt(&sql::renew(), &[&values.0, &values.1])
                            .await?
                            .map(|row| sql::renewal_of(&row))
                            .transpose()
                    })
                })
                .await?;
            if let Some(gate) = &self.shared.gate {
                match renewed {
                    Some(_) => gate.open(*lease, began),
                    None => gate.close(*lease),
                }
            }
            Ok(renewed.unwrap_or(Renewal::Lost))
        })
    }

    fn end_lease<'a>(&'a self, lease: &'a NodeLease) -> StoreFuture<'a, bool> {
        if let Some(gate) = &self.shared.gate {
            gate.close(*lease);
        }
        self.lease_call(Kind::Write, *lease, |tx, lease| Box::pin(end(tx, *lease)))
    }

    fn declare_dead<'a>(&'a self, by: &'a NodeLease) -> StoreFuture<'a, Vec<NodeRecord>> {
        self.lease_call(Kind::Write, *by, |tx, by| {
            Box::pin(async move {
                locks::take(tx, locks::NODES).await?;
                let values = (id_to_column(by.node), to_column(by.epoch));
                // Another one may have ended it meanwhile.
                if tx.query_opt(&sql::serves(), &[&values.0, &values.1]).await?.is_none() {
                    return Ok(Vec::new());
                }
                declare_dead(tx, by.node).await
            })
        })
    }

    fn drain_node(&self, id: u64) -> StoreFuture<'_, bool> {
        self.lease_call(Kind::Write, id, |tx, id| {
            Box::pin(async move { Ok(tx.execute(&sql::drain(), &[&id_to_column(*id)]).await? > 0) })
        })
    }

    fn rebalance_nodes(&self) -> StoreFuture<'_, u64> {
        self.lease_call(Kind::Write, (), |tx, ()| {
            Box::pin(async move { tx.execute(&sql::rebalance(), &[]).await })
        })
    }

    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>> {
        self.lease_call(Kind::Read, (), |tx, ()| {
            Box::pin(
                async move { tx.query(&sql::all(), &[]).await?.iter().map(sql::node).collect() },
            )
        })
    }
}

impl PostgresStore {
    /// Runs a call on the connection for leases.
    fn lease_call<A, T>(
        &self,
        kind: Kind,
        args: A,
        work: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T> + Send + Sync + 'static,
    ) -> StoreFuture<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let shared = self.shared.clone();
        let call = async move { run(&shared, kind, &args, work).await };
        Box::pin(self.in_task(kind, call))
    }
}

async fn begin(tx: &Tx, node: u64, alone: bool) -> Result<LeaseOutcome> {
    locks::take(tx, locks::NODES).await?;
    declare_dead(tx, node).await?;
    tx.execute(&sql::trim(), &[]).await?;
    let id = id_to_column(node);
    if let Some(holder) = tx.query_opt(&sql::holder(), &[&id, &alone]).await? {
        return Ok(LeaseOutcome::Held(sql::node(&holder)?));
    }
    let own = tx.query_one("SELECT epoch FROM nodes WHERE id = $1", &[&id]).await?;
    let previous = get(&own, 0)?;
    if previous > 0 {
        locks::lease(tx, previous).await?;
    }
    let row = tx.query_one(&sql::begin(), &[&id, &alone]).await?;
    let lease = NodeLease { node, epoch: unsigned(&row, 0)? };
    Ok(LeaseOutcome::Begun { lease, leads: get(&row, 1)? })
}

/// Ends the leases of those that a node may declare dead, after their transactions.
async fn declare_dead(tx: &Tx, by: u64) -> Result<Vec<NodeRecord>> {
    let by = id_to_column(by);
    tx.execute(sql::NOT_IN_FUTURE, &[]).await?;
    let mut dead = Vec::new();
    for row in tx.query(&sql::expired(), &[&by]).await? {
        let epoch: i64 = get(&row, 0)?;
        locks::lease(tx, epoch).await?;
        // Unless it has renewed meanwhile.
        if let Some(row) = tx.query_opt(&sql::declare(), &[&by, &epoch]).await? {
            dead.push(sql::node(&row)?);
        }
    }
    Ok(dead)
}
