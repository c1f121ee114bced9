//! The thread that owns the database. It runs one call after the other, retries what another process
//! blocks, and flushes the write-behind buffer about once a second.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::audit_log::AuditLog;
use super::calls::{Job, Lane, Popped, QUEUE_LENGTH, Queue, Queued};
use super::file::File;
use super::shrink;
use super::write_behind;
use crate::counters::{Action, Counters};
use crate::error::StoreError;
use crate::notes::WriteBehind;

pub(super) struct Worker {
    file: File,
    write_behind: Arc<WriteBehind>,
    counters: Arc<Counters>,
    log: AuditLog,
    /// Calls that another process blocks, in the order of their arrival.
    blocked: VecDeque<Queued>,
    /// Since when flushing fails, and whether that was logged.
    flush_failing: Option<(Instant, bool)>,
    /// The file is being shrunk, between other calls.
    shrinking: bool,
}

/// How long a call may wait for its turn and for other processes.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The interval between flushes. The short one is for the tests in this crate only: `cfg!(test)` is not
/// set when the tests of another crate use it.
const FLUSH_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1000 });

/// The interval between attempts to run blocked calls.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// How long another process may block flushing before that is logged.
const BLOCKED_WARNING: Duration = Duration::from_secs(10);

pub(super) fn job<T: Send + 'static>(
    work: impl FnMut(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    answer: oneshot::Sender<Result<T, StoreError>>,
) -> Box<dyn Job> {
    Box::new(Call { work, done: None, answer })
}

struct Call<T, W> {
    work: W,
    done: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Job for Call<T, W>
where
    T: Send,
    W: FnMut(&mut Connection) -> rusqlite::Result<T> + Send,
{
    fn attempt(&mut self, database: &mut Connection) -> rusqlite::Result<()> {
        self.done = Some((self.work)(database)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>, location: &str) {
        let Self { done, answer, .. } = *self;
        let closed = || StoreError::Closed { location: location.to_owned() };
        // The caller may have dropped its future.
        let _ = answer.send(outcome.and_then(|()| done.ok_or_else(closed)));
    }
}

enum Attempt {
    Done,
    /// Another process has locked the file.
    Blocked,
    Failed(StoreError),
}

impl Worker {
    pub(super) fn new(
        file: File,
        write_behind: Arc<WriteBehind>,
        counters: Arc<Counters>,
        log: AuditLog,
    ) -> Self {
        let blocked = VecDeque::new();
        let (flush_failing, shrinking) = (None, false);
        Self { file, write_behind, counters, log, blocked, flush_failing, shrinking }
    }

    /// Runs until the queue is closed, then writes what is left.
    pub(super) fn run(mut self, queue: &Queue) {
        let mut flush_due = Instant::now() + FLUSH_INTERVAL;
        let mut retry_due = Instant::now();
        loop {
            let due = if self.blocked.is_empty() { flush_due } else { flush_due.min(retry_due) };
            let due = if self.shrinking { Instant::now() } else { due };
            match queue.pop(due) {
                Popped::Call(queued) => {
                    let was_blocked = self.is_blocked();
                    match queued.lane {
                        Lane::Shared => self.run_shared(queued, queue),
                        Lane::First | Lane::Bulk => self.accept(queued),
                    }
                    if !was_blocked {
                        retry_due = Instant::now() + RETRY_INTERVAL;
                    }
                }
                Popped::Nothing if self.shrinking => self.shrink(),
                Popped::Nothing => {}
                Popped::Closed => return self.finish(),
            }
            if Instant::now() >= retry_due {
                self.retry();
                retry_due = Instant::now() + RETRY_INTERVAL;
            }
            if Instant::now() >= flush_due {
                let more = self.flush();
                self.shrinking |= self.flush_failing.is_none() && self.shrinking_is_due();
                // The rest after the calls that wait in the first lane, but not much later.
                let rest = more && !queue.is_first_waiting();
                flush_due = Instant::now() + if rest { Duration::ZERO } else { FLUSH_INTERVAL };
            }
        }
    }

    /// Whether another process blocks calls.
    pub(super) fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(super) fn accept(&mut self, queued: Queued) {
        // Writes keep their order.
        let after_others = queued.action == Action::Write
            && self.blocked.iter().any(|blocked| blocked.action == Action::Write);
        if !after_others {
            self.attempt(queued);
        } else if self.blocked.len() < QUEUE_LENGTH {
            self.blocked.push_back(queued);
        } else {
            self.answer(queued, Err(self.busy()));
        }
    }

    /// Runs a call, and returns whether another process blocks it: then it waits in `blocked`.
    fn attempt(&mut self, mut queued: Queued) -> bool {
        if Instant::now() >= queued.deadline {
            self.answer(queued, Err(self.busy()));
            return false;
        }
        match self.try_once(&mut queued) {
            Attempt::Done => self.answer(queued, Ok(())),
            Attempt::Failed(error) => self.answer(queued, Err(error)),
            Attempt::Blocked if self.blocked.len() < QUEUE_LENGTH => {
                self.blocked.push_back(queued);
                return true;
            }
            Attempt::Blocked => self.answer(queued, Err(self.busy())),
        }
        false
    }

    /// Retries the blocked calls. If one write is blocked, all are.
    fn retry(&mut self) {
        let mut locked = false;
        let mut calls: Vec<_> = std::mem::take(&mut self.blocked).into();
        // Stable: the calls of a lane keep their order.
        calls.sort_by_key(|queued| queued.lane);
        for queued in calls {
            let is_write = queued.action == Action::Write;
            if locked && is_write && Instant::now() < queued.deadline {
                self.blocked.push_back(queued);
            } else {
                let blocked = self.attempt(queued);
                locked |= blocked && is_write;
            }
        }
    }

    fn try_once(&mut self, queued: &mut Queued) -> Attempt {
        let database = match self.file.database() {
            Ok(database) => database,
            Err(error) => return Attempt::Failed(error),
        };
        let attempted = catch_unwind(AssertUnwindSafe(|| queued.job.attempt(database)));
        let action = queued.action.as_str();
        match attempted {
            Ok(Ok(())) => Attempt::Done,
            Ok(Err(error)) if is_blocked(&error) => Attempt::Blocked,
            Ok(Err(error)) => {
                self.file.on_error(&error);
                Attempt::Failed(StoreError::failed(self.file.location(), action, error))
            }
            Err(_) => {
                self.file.close();
                Attempt::Failed(StoreError::failed(self.file.location(), action, "it panicked"))
            }
        }
    }

    pub(super) fn answer(&self, queued: Queued, outcome: Result<(), StoreError>) {
        let Queued { job, action, since, lane: _, deadline: _ } = queued;
        match &outcome {
            Ok(()) => self.counters.succeeded(),
            Err(StoreError::Busy { .. }) => self.counters.timed_out(),
            Err(_) => self.counters.failed(),
        }
        self.counters.answered(action, since.elapsed());
        job.answer(outcome, self.file.location());
    }

    fn busy(&self) -> StoreError {
        StoreError::Busy { location: self.file.location().to_string() }
    }

    /// No caller waits for the write-behind buffer: if another process blocks the file, the next flush
    /// writes it. Returns whether that is due at once, after the calls that wait.
    fn flush(&mut self) -> bool {
        let flushed = self.try_flush();
        let more = matches!(flushed, Ok(true));
        let store = self.file.location();
        match (flushed, self.flush_failing) {
            (Ok(_), None) => {}
            (Ok(_), Some((_, logged))) => {
                self.flush_failing = None;
                if logged {
                    let (dropped, audit_dropped) = self.write_behind.dropped();
                    tracing::info!(%store, dropped, audit_dropped, "the store can be written again");
                }
            }
            (Err((error, blocked)), failing) => {
                let (since, logged) = failing.unwrap_or((Instant::now(), false));
                let log_now = !logged && (!blocked || since.elapsed() >= BLOCKED_WARNING);
                if log_now {
                    tracing::warn!(
                        %store,
                        %error,
                        "cannot write to the store; keeping last-seen times in memory"
                    );
                }
                self.flush_failing = Some((since, logged || log_now));
            }
        }
        more
    }

    /// The flag of the error says whether another process blocks the file.
    fn try_flush(&mut self) -> Result<bool, (StoreError, bool)> {
        let (notes, log) = (self.write_behind.clone(), self.log);
        let database = self.file.database().map_err(|error| (error, false))?;
        write_behind::flush(&notes, database, log).map_err(|error| {
            let blocked = is_blocked(&error);
            if !blocked {
                self.file.on_error(&error);
                self.counters.failed();
            }
            (StoreError::failed(self.file.location(), "write", error), blocked)
        })
    }

    fn shrinking_is_due(&mut self) -> bool {
        self.file.database().is_ok_and(|database| shrink::is_due(database).unwrap_or_default())
    }

    /// Shrinks the file a little. If that fails, it is tried again after the next flush.
    fn shrink(&mut self) {
        let shrunk = self.file.database().map(|database| shrink::step(database));
        self.shrinking = matches!(shrunk, Ok(Ok(true)));
        if let Ok(Err(error)) = shrunk {
            if !is_blocked(&error) {
                self.file.on_error(&error);
            }
        }
    }

    /// Finishes the blocked calls and the last flush, in the time that any call has.
    fn finish(mut self) {
        let deadline = Instant::now() + CALL_TIMEOUT;
        loop {
            self.retry();
            let flushed = self.try_flush();
            let flushed_nothing = flushed.is_err() || !self.blocked.is_empty();
            let left = self.write_behind.len() > 0;
            let again = flushed.map_or_else(|(_, blocked)| blocked, |_| left);
            if (self.blocked.is_empty() && !again) || Instant::now() >= deadline {
                break;
            }
            if flushed_nothing {
                std::thread::sleep(RETRY_INTERVAL);
            }
        }
        let lost = self.write_behind.len();
        if lost > 0 {
            tracing::warn!(store = %self.file.location(), lost, "closing the store with unwritten notes");
        }
    }
}

fn is_blocked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
