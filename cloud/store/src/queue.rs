//! Durable queues with ordered lanes, and their trait: what waits to be delivered, such as events for a webhook. When
//! and to where it is delivered is up to the server.

use std::time::Duration;

use crate::boxed::StoreFuture;
use crate::dead_letters::DeadLetter;
use crate::epoch::Epoch;
use crate::queue_item::QueueItem;

/// Stores queues. Follows the [contract](crate#contract) of every store, but is not audited.
///
/// The items of a lane are delivered in order, one at a time: only its first one, the head, is ever reserved. Lanes
/// do not wait for each other, and have their turn in the order in which they became ready. Nothing is read that is
/// not delivered, and no operation takes longer because many items or lanes wait. What concerns many items is done in
/// steps, between which others have their turn.
///
/// `now` is the time on the clock of the queue, which the caller keeps: it continues from [`QueueStatus::time`], and
/// advances only while the caller runs; a time before that one counts as that. So neither the order nor a wait depends on a clock that may be wrong. A queue
/// has a single caller at a time that reserves its items.
pub trait QueueStore: Epoch {
    /// What waits in the queue, which need not exist.
    fn queue_status<'a>(&'a self, queue: &'a str) -> StoreFuture<'a, QueueStatus>;

    /// Appends the items, together, and then drops the oldest ones until the queue is within its budget, as
    /// [`QueueStore::drop_oldest`] does. No more than a megabyte at a time, or others wait for it. `missed` is how many
    /// were lost before them, and counts in [`QueueStatus::dropped`].
    fn enqueue<'a>(
        &'a self,
        queue: &'a str,
        items: Vec<QueueItem>,
        missed: u64,
        budget: QueueBudget,
        now: Duration,
    ) -> StoreFuture<'a, Dropped>;

    /// Reserves the heads of lanes that are ready, for as long as there is room. Until `until` no one else gets them;
    /// then they are ready again. A power cut, unlike the end of the process, may undo a reservation.
    fn reserve<'a>(
        &'a self,
        queue: &'a str,
        room: Room,
        now: Duration,
        until: Duration,
    ) -> StoreFuture<'a, Reserved>;

    /// Ends reservations. Ignores those that do not exist any more, which is so after their time, or after a restore.
    fn settle<'a>(
        &'a self,
        queue: &'a str,
        settlements: Vec<(Reservation, Settlement)>,
        now: Duration,
    ) -> StoreFuture<'a, Settled>;

    /// Makes every lane ready that is reserved or waits for its next attempt. Returns how many.
    fn release<'a>(&'a self, queue: &'a str, now: Duration) -> StoreFuture<'a, u64>;

    /// Drops the oldest items that are not reserved until the queue is within its budget.
    fn drop_oldest<'a>(
        &'a self,
        queue: &'a str,
        budget: QueueBudget,
        now: Duration,
    ) -> StoreFuture<'a, Dropped>;

    /// Removes the queues whose names begin with `prefix`, except these, with their items and dead letters. Returns
    /// the number of items.
    fn keep_only_queues<'a>(&'a self, prefix: &'a str, names: &'a [String])
    -> StoreFuture<'a, u64>;

    /// Dead letters of the queue after this number, in their order, at most `limit`. Fewer if they are big, and none
    /// only if there are no more.
    fn dead_letters<'a>(
        &'a self,
        queue: &'a str,
        after: u64,
        limit: u32,
    ) -> StoreFuture<'a, Vec<DeadLetter>>;

    /// Deletes the dead letters of all queues that have been kept for [`DeadLetter::MAX_AGE`] at `now`, in seconds
    /// since 1970-01-01 UTC. Only for a time that can be trusted, see [`Clock::is_trusted`](crate::Clock).
    fn expire_dead_letters(&self, now: u64) -> StoreFuture<'_, u64>;
}

/// How much may wait in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct QueueBudget {
    /// The number of items.
    pub items: u64,
    /// About how many bytes of the store they may take.
    pub bytes: u64,
}

/// What waits in a queue, reserved items included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct QueueStatus {
    /// The time of the last change on the clock of the queue, in milliseconds.
    pub time: Duration,
    /// The number of items.
    pub items: u64,
    /// About how many bytes of the store they take.
    pub bytes: u64,
    /// How many were ever lost: dropped, or missed before they were added.
    pub dropped: u64,
}

/// The result of [`QueueStore::enqueue`] and [`QueueStore::drop_oldest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct Dropped {
    /// The number of items that were dropped.
    pub items: u64,
    /// What waits now.
    pub status: QueueStatus,
}

/// How much to reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct Room {
    /// The number of items.
    pub items: usize,
    /// The sum of [`QueueItem::stored_bytes`].
    pub bytes: u64,
    /// The first item may be bigger than that.
    pub bigger: bool,
}

/// The result of [`QueueStore::reserve`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct Reserved {
    /// The items, in the order of their turn.
    pub items: Vec<ReservedItem>,
    /// [`QueueStatus::dropped`] so far.
    pub dropped: u64,
    /// When the first of the other lanes is ready: not later than `now` if there was no room for it. `None` if there
    /// is no other.
    pub next_due: Option<Duration>,
}

/// An item that is to be delivered now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct ReservedItem {
    /// What [`QueueStore::settle`] needs.
    pub reservation: Reservation,
    /// The item.
    pub item: QueueItem,
    /// When it was added, on the clock of the queue.
    pub since: Duration,
    /// How often its lane was reserved since the last success: also by a process that was killed.
    pub attempts: u32,
    /// How many of the item's own attempts were settled as [`Settlement::RetryAt`] with `counted`.
    pub failures: u32,
}

/// Proof that an item is reserved. After a restore it fits no other item. What the numbers mean is up to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads and fills it, and one that ignores a new field must not compile"
)]
pub struct Reservation {
    /// The lane.
    pub lane: i64,
    /// A random number.
    pub token: i64,
}

/// How an attempt to deliver ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store reads it, and one that ignores a new variant must not compile"
)]
pub enum Settlement {
    /// The item is delivered. The next one of its lane is ready.
    Complete,
    /// The item is given up, and counts in [`QueueStatus::dropped`]. The next one of its lane is ready.
    Drop,
    /// The item is ready again at this time. Until then the others of its lane wait.
    RetryAt {
        /// The time on the clock of the queue.
        due: Duration,
        /// The attempt counts in [`ReservedItem::failures`].
        counted: bool,
    },
    /// The item is kept as a [`DeadLetter`]. The next one of its lane is ready.
    Park {
        /// Why, for people.
        reason: String,
        /// The time in seconds since 1970-01-01 UTC.
        at: u64,
    },
}

/// The result of [`QueueStore::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct Settled {
    /// How many dead letters were deleted to make room for those that were added.
    pub dead_letters_dropped: u64,
    /// What waits now.
    pub status: QueueStatus,
}
