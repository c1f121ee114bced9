//! Calls that share a transaction, and so its sync to the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::calls::{Queue, Queued};
use super::worker::Worker;

/// The number of calls in a group.
const MAX_CALLS: usize = 32;

/// No call is added to a group that has taken this long, so that a login does not wait for it.
const MAX_TIME: Duration = Duration::from_millis(10);

/// Runs `change` in the transaction of a group, or in a separate one.
pub(super) fn shared<T>(
    mut change: impl FnMut(&Connection) -> rusqlite::Result<T>,
) -> impl FnMut(&mut Connection) -> rusqlite::Result<T> {
    move |database| {
        if !database.is_autocommit() {
            return change(database);
        }
        let tx = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&tx)?;
        tx.commit()?;
        Ok(done)
    }
}

impl Worker {
    /// Runs a call in one transaction with those that wait behind it. If that fails, each has a separate one.
    pub(super) fn run_shared(&mut self, first: Queued, queue: &Queue) {
        // Writes keep their order.
        let next = if self.is_blocked() { None } else { queue.pop_shared() };
        let Some(next) = next else { return self.accept(first) };
        let mut group = Vec::from([first, next]);
        if self.try_group(&mut group, queue) {
            group.into_iter().for_each(|queued| self.answer(queued, Ok(())));
        } else {
            group.into_iter().for_each(|queued| self.accept(queued));
        }
    }

    /// Adds to the group what waits, and runs it. Returns whether all of it is stored; otherwise nothing is.
    fn try_group(&mut self, group: &mut Vec<Queued>, queue: &Queue) -> bool {
        let Ok(database) = self.file().database() else { return false };
        if database.execute_batch("BEGIN IMMEDIATE").is_err() {
            return false;
        }
        let begun = Instant::now();
        let mut is_done = group.iter_mut().all(|queued| is_run(queued, database));
        while is_done && group.len() < MAX_CALLS && begun.elapsed() < MAX_TIME {
            let Some(mut next) = queue.pop_shared() else { break };
            is_done = is_run(&mut next, database);
            group.push(next);
        }
        if is_done && database.execute_batch("COMMIT").is_ok() {
            return true;
        }
        // SQLite has ended the transaction after some errors.
        if !database.is_autocommit() && database.execute_batch("ROLLBACK").is_err() {
            self.file().close();
        }
        false
    }
}

/// Whether the call succeeded in the transaction.
fn is_run(queued: &mut Queued, database: &mut Connection) -> bool {
    let is_late = Instant::now() >= queued.deadline;
    let attempt = || queued.job.attempt(database);
    !is_late
        && matches!(catch_unwind(AssertUnwindSafe(attempt)), Ok(Ok(())))
        && !database.is_autocommit()
}
