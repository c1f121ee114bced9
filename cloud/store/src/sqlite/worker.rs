//! The thread that holds the database.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::audit_log::Log;
use super::file::File;
use super::notes::Notes;
use super::stats::{Action, Counters};
use crate::error::StoreError;

/// The thread that holds the database: one call after the other, and the notes once in a while.
pub(super) struct Worker {
    file: File,
    notes: Arc<Notes>,
    counters: Arc<Counters>,
    log: Log,
    /// Calls that wait for another process, in the order they came in.
    held: VecDeque<Queued>,
    /// Since when the notes cannot be written, and whether that was told.
    notes_failing: Option<(Instant, bool)>,
}

/// A call on its way.
pub(super) struct Queued {
    pub(super) job: Box<dyn Job>,
    pub(super) action: Action,
    pub(super) since: Instant,
    /// Until when it may wait.
    pub(super) deadline: Instant,
}

/// What a call wants done, and who waits for it.
pub(super) trait Job: Send {
    /// Does it, as often as it takes.
    fn attempt(&mut self, database: &mut Connection) -> rusqlite::Result<()>;

    /// Answers, with the result of the last attempt if all went well.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>, location: &str);
}

/// How many calls may wait for the thread.
pub(super) const LINE: usize = 1024;

/// How long a call may wait for its turn and for other processes.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How often the notes are written. The short interval is for the tests in this crate: `cfg!(test)` does
/// not hold where others test with it.
const NOTES_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1000 });

/// How often it is seen whether another process still holds the file.
const HELD_INTERVAL: Duration = Duration::from_millis(20);

/// For how long another process may hold the file until that is worth a word.
const HELD_LONG: Duration = Duration::from_secs(10);

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
        // Nobody waiting for the result any more is no error.
        let _ = answer.send(outcome.and_then(|()| done.ok_or_else(closed)));
    }
}

/// What became of an attempt.
enum Attempted {
    Done,
    /// Another process holds the file.
    Held,
    Failed(StoreError),
}

impl Worker {
    pub(super) fn new(file: File, notes: Arc<Notes>, counters: Arc<Counters>, log: Log) -> Self {
        Self { file, notes, counters, log, held: VecDeque::new(), notes_failing: None }
    }

    /// Works until nobody can send any more, then writes what is left.
    pub(super) fn work(mut self, line: &Receiver<Queued>) {
        let mut notes_due = Instant::now() + NOTES_INTERVAL;
        let mut held_due = Instant::now();
        loop {
            let due = if self.held.is_empty() { notes_due } else { notes_due.min(held_due) };
            match line.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(queued) => {
                    let was_held = !self.held.is_empty();
                    self.take(queued);
                    if !was_held {
                        held_due = Instant::now() + HELD_INTERVAL;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
            if Instant::now() >= held_due {
                self.retry();
                held_due = Instant::now() + HELD_INTERVAL;
            }
            if Instant::now() >= notes_due {
                self.write_notes();
                notes_due = Instant::now() + NOTES_INTERVAL;
            }
        }
    }

    fn take(&mut self, queued: Queued) {
        // Changes keep their order.
        let after_others = queued.action == Action::Write
            && self.held.iter().any(|held| held.action == Action::Write);
        if after_others { self.hold(queued) } else { self.attempt(queued) }
    }

    fn attempt(&mut self, mut queued: Queued) {
        if Instant::now() >= queued.deadline {
            return self.answer(queued, Err(self.busy()));
        }
        match self.try_once(&mut queued) {
            Attempted::Done => self.answer(queued, Ok(())),
            Attempted::Held => self.hold(queued),
            Attempted::Failed(error) => self.answer(queued, Err(error)),
        }
    }

    fn hold(&mut self, queued: Queued) {
        if self.held.len() < LINE {
            self.held.push_back(queued);
        } else {
            self.answer(queued, Err(self.busy()));
        }
    }

    /// Tries again what waits for another process. Where one change cannot be made, none can.
    fn retry(&mut self) {
        let mut locked = false;
        for mut queued in std::mem::take(&mut self.held) {
            if Instant::now() >= queued.deadline {
                self.answer(queued, Err(self.busy()));
            } else if locked && queued.action == Action::Write {
                self.held.push_back(queued);
            } else {
                match self.try_once(&mut queued) {
                    Attempted::Done => self.answer(queued, Ok(())),
                    Attempted::Held => {
                        locked = locked || queued.action == Action::Write;
                        self.held.push_back(queued);
                    }
                    Attempted::Failed(error) => self.answer(queued, Err(error)),
                }
            }
        }
    }

    fn try_once(&mut self, queued: &mut Queued) -> Attempted {
        let database = match self.file.database() {
            Ok(database) => database,
            Err(error) => return Attempted::Failed(error),
        };
        let attempted = catch_unwind(AssertUnwindSafe(|| queued.job.attempt(database)));
        let action = queued.action.as_str();
        match attempted {
            Ok(Ok(())) => Attempted::Done,
            Ok(Err(error)) if is_held(&error) => Attempted::Held,
            Ok(Err(error)) => {
                self.file.judge(&error);
                Attempted::Failed(StoreError::failed(self.file.location(), action, error))
            }
            Err(_) => {
                self.file.close();
                Attempted::Failed(StoreError::failed(self.file.location(), action, "it panicked"))
            }
        }
    }

    fn answer(&self, queued: Queued, outcome: Result<(), StoreError>) {
        let Queued { job, action, since, deadline: _ } = queued;
        match &outcome {
            Ok(()) => self.counters.went_well(),
            Err(StoreError::Busy { .. }) => self.counters.held(),
            Err(_) => self.counters.failed(),
        }
        self.counters.answered(action, since.elapsed());
        job.answer(outcome, self.file.location());
    }

    fn busy(&self) -> StoreError {
        StoreError::Busy { location: self.file.location().to_string() }
    }

    /// Nobody who wants to know something waits for notes: if another process holds the file they go
    /// on waiting.
    fn write_notes(&mut self) {
        let written = self.try_notes();
        let store = self.file.location();
        match (written, self.notes_failing) {
            (Ok(()), None) => {}
            (Ok(()), Some((_, told))) => {
                self.notes_failing = None;
                if told {
                    let (dropped, audit_dropped) = self.notes.dropped();
                    tracing::info!(%store, dropped, audit_dropped, "the store can be written again");
                }
            }
            (Err((error, held)), failing) => {
                let (since, told) = failing.unwrap_or((Instant::now(), false));
                let tell = !told && (!held || since.elapsed() >= HELD_LONG);
                if tell {
                    tracing::warn!(
                        %store,
                        %error,
                        "the store cannot be written; when devices were seen is kept in memory"
                    );
                }
                self.notes_failing = Some((since, told || tell));
            }
        }
    }

    /// The error says, beside why, whether another process holds the file.
    fn try_notes(&mut self) -> Result<(), (StoreError, bool)> {
        let (notes, log) = (self.notes.clone(), self.log);
        let database = self.file.database().map_err(|error| (error, false))?;
        notes.write(database, log).map_err(|error| {
            let held = is_held(&error);
            if !held {
                self.file.judge(&error);
                self.counters.failed();
            }
            (StoreError::failed(self.file.location(), "write", error), held)
        })
    }

    /// The last work, for which there is as much time as for any call.
    fn finish(mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.retry();
            let left = !self.held.is_empty() || self.try_notes().is_err_and(|(_, held)| held);
            if !left || Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(HELD_INTERVAL);
        }
        let lost = self.notes.waiting();
        if lost > 0 {
            tracing::warn!(store = %self.file.location(), lost, "the store closes with notes unwritten");
        }
    }
}

fn is_held(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
