//! The batches of notes that a store writes, with numbers: one whose COMMIT got no answer may have been written, and is
//! not written twice.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::call::Tx;
use super::columns::to_column;
use super::failure::Failure;
use super::shared::Shared;
use crate::notes::Pending;
use crate::time::unix_now;

/// How long the number of a store is kept that was not closed, in seconds: longer than any goes without writing.
const KEPT_S: u64 = 30 * 24 * 3600;

/// Changes a row if the batch is new. Waits for the end of a transaction that is still writing it.
const ADVANCE: &str = "INSERT INTO flushes AS known (store, newest, at) VALUES ($1, $2, $3)
    ON CONFLICT (store) DO UPDATE SET newest = excluded.newest, at = excluded.at
    WHERE known.newest < excluded.newest";

const DELETE_OLD: &str = "DELETE FROM flushes WHERE store IN
    (SELECT store FROM flushes WHERE at < $1 FOR UPDATE SKIP LOCKED)";

/// What is to be written in one transaction.
pub(super) struct Batch {
    store: [u8; 16],
    /// Of those with lines for the audit log, counted from 1.
    number: i64,
    pub(super) notes: Arc<Pending>,
}

impl Batch {
    /// Whether it was not written before. It has lines for the audit log. If the transaction is committed, it counts as
    /// written.
    pub(super) async fn is_new(&self, tx: &Tx) -> Result<bool, Failure> {
        let now = unix_now();
        let values: super::call::Values<'_> = &[&&self.store[..], &self.number, &to_column(now)];
        let is_new = tx.execute(ADVANCE, values).await? > 0;
        if is_new && self.number == 1 {
            tx.execute(DELETE_OLD, &[&to_column(now.saturating_sub(KEPT_S))]).await?;
        }
        Ok(is_new)
    }
}

/// The batches of a store, one after the other.
pub(super) struct Batches {
    store: [u8; 16],
    newest: i64,
    /// The newest one, if it is not known to be written.
    pub(super) unwritten: Option<Arc<Pending>>,
}

impl Batches {
    pub(super) fn new() -> Self {
        Self { store: rand::random(), newest: 0, unwritten: None }
    }

    /// The one that could not be written last time, or else what is pending, if anything is.
    pub(super) fn next(&mut self, shared: &Shared) -> Option<Batch> {
        let notes = match self.unwritten.take() {
            Some(notes) => notes,
            None => {
                let notes = shared.notes.take()?;
                self.newest += i64::from(!notes.audit.is_empty());
                notes
            }
        };
        Some(Batch { store: self.store, number: self.newest, notes })
    }

    /// Deletes the number, as nothing will be written any more.
    pub(super) async fn forget(&self, shared: &Shared, deadline: Instant) {
        if self.newest == 0 {
            return;
        }
        let delete = async {
            let client = shared.pool.get().await.ok()?;
            let sql = "DELETE FROM flushes WHERE store = $1";
            client.execute(sql, &[&&self.store[..]]).await.ok()
        };
        // Or another store does it, later.
        let _ = timeout_at(deadline, delete).await;
    }
}
