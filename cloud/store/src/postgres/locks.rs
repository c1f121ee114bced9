//! What a transaction locks that has no row to be locked, until its end.

use fedecks_protocol::DeviceId;

use super::call::Tx;
use super::failure::Failure;

/// The number of API tokens.
pub(super) const API_TOKENS: i32 = 1;

/// The number of claims.
pub(super) const CLAIMS: i32 = 2;

/// The number of what waits for approval.
pub(super) const APPROVALS: i32 = 3;

/// What is deleted from the log of messages.
pub(super) const TRIM_LOG: i32 = 4;

/// Who serves.
pub(super) const NODES: i32 = 5;

/// What is written under a lease; with the hash of its epoch. Each transaction of its node shares it (`hold_lease` in
/// `schema/nodes.sql`), and who ends the lease has it alone, after all of them.
const LEASE: i32 = 6;

/// Waits until all transactions under a lease have ended, and has those that begin later wait for this one.
pub(super) async fn lease(tx: &Tx, epoch: i64) -> Result<(), Failure> {
    let sql = "SELECT pg_advisory_xact_lock($1, hashint8($2))";
    tx.query_one(sql, &[&LEASE, &epoch]).await.map(drop)
}

/// Locks one of the numbers above.
pub(super) async fn take(tx: &Tx, lock: i32) -> Result<(), Failure> {
    tx.query_one("SELECT pg_advisory_xact_lock($1, 0)", &[&lock]).await.map(drop)
}

/// Keeps others from registering a device that may not have a row yet. It comes before the lock of its row. Two devices
/// whose ids happen to have the same hash wait for each other, and nothing else.
pub(super) async fn registering(tx: &Tx, device: &DeviceId) -> Result<(), Failure> {
    let sql = "SELECT pg_advisory_xact_lock(0, hashtext($1))";
    tx.query_one(sql, &[&device.as_str()]).await.map(drop)
}
