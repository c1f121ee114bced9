//! How many calls of each kind run at a time, so that much work of one kind never delays another. Together they run on
//! no more connections than there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What all devices or programs depend on, such as the polls for revocations.
    First,
    /// Logins, of which strangers cause as many as they like.
    Login,
    /// Changes of who has access.
    Change,
    /// Reads of lists and records.
    Read,
    /// Changes that change no one's access.
    Later,
    /// Durable queues, whose calls are few at a time and big.
    Bulk,
    /// What many devices do at the same time, in small.
    Shared,
}

/// The lanes, and how many of [`SHARES`] connections each has.
const ALL: [(Lane, usize); 7] = [
    (Lane::First, 2),
    (Lane::Login, 3),
    (Lane::Change, 2),
    (Lane::Read, 2),
    (Lane::Later, 1),
    (Lane::Bulk, 2),
    (Lane::Shared, 4),
];

const SHARES: usize = 16;

/// The number of connections by default: one for the notes, and [`SHARES`].
pub(super) const DEFAULT_CONNECTIONS: u16 = 17;

/// The smallest number of connections: one for each lane, and one for the notes.
pub(super) const MIN_CONNECTIONS: u16 = ALL.len() as u16 + 1;

/// The number of calls that may wait in each lane.
const MAX_WAITING: usize = 1024;

pub(super) struct Lanes([Turns; ALL.len()]);

struct Turns {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Lanes {
    /// For this number of connections.
    pub(super) fn new(connections: u16) -> Self {
        let connections = usize::from(connections.max(MIN_CONNECTIONS)) - 1;
        Self(ALL.map(|(_, share)| Turns {
            permits: Arc::new(Semaphore::new((share * connections / SHARES).max(1))),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Waits for the turn of a call; `None` if too many wait or it takes too long.
    pub(super) async fn turn(&self, lane: Lane, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let turns = &self.0[lane as usize];
        if let Ok(permit) = turns.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::new(&turns.waiting)?;
        timeout_at(deadline, turns.permits.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// A call that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Option<Self> {
        let this = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lanes_together_leave_a_connection_for_the_notes() {
        for connections in MIN_CONNECTIONS..200 {
            let Lanes(lanes) = Lanes::new(connections);
            let permits: usize = lanes.iter().map(|turns| turns.permits.available_permits()).sum();
            assert!(permits < usize::from(connections), "{connections}: {permits}");
        }
        let Lanes(lanes) = Lanes::new(DEFAULT_CONNECTIONS);
        for (place, (lane, share)) in ALL.into_iter().enumerate() {
            assert_eq!(lane as usize, place);
            assert_eq!(lanes[place].permits.available_permits(), share);
        }
    }

    #[tokio::test]
    async fn a_call_waits_for_its_turn_but_not_for_ever() {
        let lanes = Lanes::new(MIN_CONNECTIONS);
        let soon = || Instant::now() + std::time::Duration::from_millis(20);
        let first = lanes.turn(Lane::Bulk, soon()).await;
        assert!(first.is_some());
        assert!(lanes.turn(Lane::Bulk, soon()).await.is_none());
        assert!(lanes.turn(Lane::Login, soon()).await.is_some());
        drop(first);
        assert!(lanes.turn(Lane::Bulk, soon()).await.is_some());
        assert_eq!(lanes.0[Lane::Bulk as usize].waiting.load(Ordering::Relaxed), 0);
    }
}
