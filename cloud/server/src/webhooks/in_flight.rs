//! The deliveries of one webhook that are in progress, bounded in number and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fedecks_store::{Clock, ReservedItem, Room};
use tokio::task::JoinSet;

use super::delivery::{Outcome, Receiver};

pub(super) struct InFlight {
    tasks: JoinSet<(ReservedItem, Outcome)>,
    /// The bytes of all of them.
    bytes: Arc<AtomicU64>,
    max: usize,
    max_bytes: u64,
}

/// Counts a delivery's bytes for as long as it exists, so also until its task has panicked.
struct Held {
    sum: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl InFlight {
    pub(super) fn new(max: usize, max_bytes: u64) -> Self {
        Self { tasks: JoinSet::new(), bytes: Arc::default(), max, max_bytes }
    }

    /// What else may be delivered now. A body that is bigger than the limit is delivered alone.
    pub(super) fn room(&self) -> Room {
        let bytes = self.max_bytes.saturating_sub(self.bytes.load(Ordering::Relaxed));
        let items = self.max.saturating_sub(self.tasks.len());
        Room { items, bytes, bigger: self.tasks.is_empty() }
    }

    /// Begins to deliver an event, before which `dropped` events were dropped in all.
    pub(super) fn start(
        &mut self,
        reserved: ReservedItem,
        dropped: u64,
        receiver: &Receiver,
        clock: &Clock,
    ) {
        let bytes = reserved.item.stored_bytes();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { sum: self.bytes.clone(), bytes };
        let (receiver, clock) = (receiver.clone(), clock.clone());
        self.tasks.spawn(async move {
            let outcome = receiver.deliver(&reserved.item, dropped, &clock).await;
            drop(held);
            (reserved, outcome)
        });
    }

    /// Waits for one that has ended, and never if there is none. One that panicked is delivered again after the time
    /// of its reservation. Cancel safe.
    pub(super) async fn ended(&mut self) -> (ReservedItem, Outcome) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(ended)) => return ended,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// One that has ended already.
    pub(super) fn ended_already(&mut self) -> Option<(ReservedItem, Outcome)> {
        loop {
            if let Ok(ended) = self.tasks.try_join_next()? {
                return Some(ended);
            }
        }
    }
}
