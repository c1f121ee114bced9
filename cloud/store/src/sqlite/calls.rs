//! The calls that wait for the thread of the store, in two lanes. It knows neither limits per caller nor
//! how long a call may wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::counters::Action;
use crate::error::StoreError;

/// A call in the queue.
pub(super) struct Queued {
    pub(super) job: Box<dyn Job>,
    pub(super) action: Action,
    pub(super) lane: Lane,
    pub(super) since: Instant,
    /// When it fails if it is still waiting.
    pub(super) deadline: Instant,
}

/// The work of a call, and the way back to its caller.
pub(super) trait Job: Send {
    /// Does the work. May be called several times.
    fn attempt(&mut self, database: &mut Connection) -> rusqlite::Result<()>;

    /// Answers the caller: with the result of the last attempt if `outcome` is `Ok`.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>, location: &str);
}

/// Which calls are served before which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// What a device's login waits for and what changes who has access. Each is small, and never waits for
    /// a call of the other lane that has not begun.
    First,
    /// Everything else, such as lists and durable queues.
    Bulk,
    /// In order with [`Lane::Bulk`], for calls that may share a transaction.
    Shared,
}

/// The number of calls that may wait in each lane.
pub(super) const QUEUE_LENGTH: usize = 1024;

#[derive(Default)]
pub(super) struct Queue {
    lanes: Mutex<Lanes>,
    changed: Condvar,
}

#[derive(Default)]
struct Lanes {
    first: VecDeque<Queued>,
    bulk: VecDeque<Queued>,
    closed: bool,
}

/// Why a call was not queued.
pub(super) enum NotQueued {
    Full,
    Closed,
}

/// What [`Queue::pop`] found.
pub(super) enum Popped {
    Call(Queued),
    Nothing,
    /// The queue is closed and empty.
    Closed,
}

impl Queue {
    /// Appends a call to its lane.
    pub(super) fn push(&self, queued: Queued) -> Result<(), NotQueued> {
        let mut lanes = self.lanes.lock();
        if lanes.closed {
            return Err(NotQueued::Closed);
        }
        let lane = match queued.lane {
            Lane::First => &mut lanes.first,
            Lane::Bulk | Lane::Shared => &mut lanes.bulk,
        };
        if lane.len() >= QUEUE_LENGTH {
            return Err(NotQueued::Full);
        }
        lane.push_back(queued);
        self.changed.notify_one();
        Ok(())
    }

    /// The next call; waits for one until `deadline`.
    pub(super) fn pop(&self, deadline: Instant) -> Popped {
        let mut lanes = self.lanes.lock();
        loop {
            if let Some(queued) = lanes.first.pop_front() {
                return Popped::Call(queued);
            }
            if let Some(queued) = lanes.bulk.pop_front() {
                return Popped::Call(queued);
            }
            if lanes.closed {
                return Popped::Closed;
            }
            if self.changed.wait_until(&mut lanes, deadline).timed_out() {
                // A call may have arrived at the same moment.
                let next = lanes.first.pop_front().or_else(|| lanes.bulk.pop_front());
                return next.map_or(Popped::Nothing, Popped::Call);
            }
        }
    }

    /// The next call, if it may share a transaction and is waiting already.
    pub(super) fn pop_shared(&self) -> Option<Queued> {
        let mut lanes = self.lanes.lock();
        let is_shared = lanes.bulk.front().is_some_and(|next| next.lane == Lane::Shared);
        if is_shared && lanes.first.is_empty() { lanes.bulk.pop_front() } else { None }
    }

    /// Whether a call waits in the first lane.
    pub(super) fn is_first_waiting(&self) -> bool {
        !self.lanes.lock().first.is_empty()
    }

    /// Takes no further calls. The thread ends once it has done what is queued.
    pub(super) fn close(&self) {
        self.lanes.lock().closed = true;
        self.changed.notify_one();
    }
}

/// Closes the queue however the thread ends, and forgets what is left: its callers would wait in vain.
pub(super) struct CloseOnDrop(pub(super) Arc<Queue>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let mut lanes = self.0.lanes.lock();
        *lanes = Lanes { closed: true, ..Lanes::default() };
    }
}
