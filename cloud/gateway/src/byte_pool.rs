//! A bound on what all sessions together keep in memory for their messages, in one direction. It knows no
//! session: each counts what it holds, and asks for the difference before it holds more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A number of bytes that sessions share. What a session holds up to [`FREE`] is not counted, so that small
/// messages always pass.
#[derive(Debug)]
pub(crate) struct BytePool {
    max: usize,
    used: AtomicUsize,
    /// The part of it that waits in queues.
    queued: AtomicUsize,
    /// When a session was refused last, in seconds since the start, counted from 1; 0 if half has become free
    /// since.
    refused_s: AtomicU32,
    started: Instant,
}

/// What each session may hold without being counted, in bytes.
pub(crate) const FREE: usize = 4096;

/// A part of the sum is for sessions in whose queue nothing waits: 1/8.
const RESERVE: usize = 8;

/// How long a session counts as waiting after it was refused. Sessions ask again sooner, those that send to them
/// perhaps not.
const WAITING: Duration = Duration::from_secs(10);

impl BytePool {
    pub(crate) fn new(max: usize) -> Self {
        let [used, queued] = [0, 0].map(AtomicUsize::new);
        Self { max, used, queued, refused_s: AtomicU32::new(0), started: Instant::now() }
    }

    /// Changes what one session holds from `held` to `next` bytes, if there is room.
    pub(crate) fn try_change(&self, held: usize, next: usize) -> bool {
        self.try_change_within(held, next, self.max)
    }

    fn try_change_within(&self, held: usize, next: usize, max: usize) -> bool {
        let (before, after) = (counted(held), counted(next));
        if after <= before {
            self.release(before - after);
            return true;
        }
        self.try_add(|used| used.checked_add(after - before).filter(|sum| *sum <= max))
    }

    fn try_add(&self, add: impl FnMut(usize) -> Option<usize>) -> bool {
        let added = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if !added {
            self.refused();
        }
        added
    }

    /// The same for what is in memory already, whether there is room or not.
    pub(crate) fn change(&self, held: usize, next: usize) {
        let (before, after) = (counted(held), counted(next));
        if after > before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.release(before - after);
        }
    }

    /// The same as [`BytePool::try_change`] for what waits in the queue of one session. A session that has
    /// something waiting already leaves a part of the sum to others.
    pub(crate) fn try_queue(&self, held: usize, next: usize) -> bool {
        let reserve = if counted(held) > 0 { self.max / RESERVE } else { 0 };
        let queued = self.try_change_within(held, next, self.max - reserve);
        if queued {
            self.queued.fetch_add(counted(next).saturating_sub(counted(held)), Ordering::Relaxed);
        }
        queued
    }

    /// The queue of one session becomes shorter, from `held` to `next` bytes.
    pub(crate) fn unqueue(&self, held: usize, next: usize) {
        let less = counted(held).saturating_sub(counted(next));
        self.queued.fetch_sub(less, Ordering::Relaxed);
        self.release(less);
    }

    /// Whether more is held than this multiple of the sum. The session that asks is then refused.
    pub(crate) fn is_exceeded(&self, times: usize) -> bool {
        let exceeded = self.used() > self.max.saturating_mul(times);
        if exceeded {
            self.refused();
        }
        exceeded
    }

    /// Takes this many bytes for a message that a session takes from its queue, to send the result; they are
    /// given back by [`BytePool::change`]. What waits in queues does not count: it waits for this. What is being
    /// sent takes at most half of the sum, or is of one session.
    pub(crate) fn try_send(&self, bytes: usize) -> bool {
        self.try_add(|used| {
            let sending = used.saturating_sub(self.queued.load(Ordering::Relaxed));
            let fits = sending.saturating_add(counted(bytes)) <= self.max / 2;
            (fits || sending == 0 || bytes <= FREE).then(|| used.saturating_add(counted(bytes)))
        })
    }

    /// Whether sessions wait for what others hold.
    pub(crate) fn is_starved(&self) -> bool {
        let refused_s = self.refused_s.load(Ordering::Relaxed);
        refused_s > 0 && self.now_s().saturating_sub(refused_s) < WAITING.as_secs() as u32
    }

    /// The number of bytes that are held, without what is free.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts what is in memory already until the result is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> Hold<'_> {
        self.change(0, bytes);
        Hold { pool: self, bytes }
    }

    /// Counts what is in memory already and waits in queues, all of it, until the result is dropped.
    pub(crate) fn hold_queued(self: &Arc<Self>, bytes: usize) -> QueuedHold {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        QueuedHold { pool: self.clone(), bytes }
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 && self.used.fetch_sub(bytes, Ordering::Relaxed) - bytes <= self.max / 2 {
            self.refused_s.store(0, Ordering::Relaxed);
        }
    }

    fn refused(&self) {
        self.refused_s.store(self.now_s(), Ordering::Relaxed);
    }

    /// Seconds since the start, counted from 1.
    fn now_s(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// Bytes that are given back on drop.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    pool: &'a BytePool,
    bytes: usize,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.pool.change(self.bytes, 0);
    }
}

/// A message that waits in several queues, and is given back when none has it any more.
#[derive(Debug)]
pub(crate) struct QueuedHold {
    pool: Arc<BytePool>,
    bytes: usize,
}

impl Drop for QueuedHold {
    fn drop(&mut self) {
        self.pool.queued.fetch_sub(self.bytes, Ordering::Relaxed);
        self.pool.release(self.bytes);
    }
}

fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(FREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_the_sum_and_what_is_small_is_free() {
        let pool = BytePool::new(10_000);
        assert!(pool.try_change(0, FREE));
        assert_eq!(pool.used(), 0);
        assert!(pool.try_change(FREE, FREE + 10_000));
        assert!(!pool.try_change(0, FREE + 1));
        assert!(!pool.try_send(FREE + 1) && pool.try_send(FREE));
        assert!(pool.is_starved());
        assert!(pool.try_change(FREE + 10_000, FREE + 5_001));
        assert!(pool.is_starved());
        assert!(pool.try_change(FREE + 5_001, 0));
        assert!(!pool.is_starved());
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn what_waits_in_queues_does_not_wait_for_itself() {
        let pool = BytePool::new(10_000);
        assert!(pool.try_queue(0, FREE + 10_000) && !pool.try_queue(0, FREE + 1));
        assert!(pool.try_send(FREE + 20_000), "nothing is being sent");
        pool.change(FREE + 20_000, FREE + 1);
        assert!(!pool.try_send(FREE + 5000) && pool.try_send(FREE + 4999));
        pool.change(FREE + 4999, 0);
        pool.unqueue(FREE + 10_000, FREE + 1);
        assert!(!pool.try_send(FREE + 5000));
        pool.unqueue(FREE + 1, 0);
        assert_eq!(pool.used(), 1);
    }

    #[test]
    fn what_is_in_memory_already_is_counted_beyond_the_sum() {
        let pool = BytePool::new(100);
        pool.change(0, FREE + 200);
        assert_eq!(pool.used(), 200);
        assert!(!pool.try_change(0, FREE + 1));
        pool.change(FREE + 200, FREE);
        assert_eq!(pool.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_is_starved_only_while_others_wait() {
        let pool = BytePool::new(10_000);
        assert!(pool.try_change(0, FREE + 3_000));
        assert!(!pool.try_change(0, FREE + 8_000));
        assert!(pool.is_starved());
        tokio::time::advance(std::time::Duration::from_secs(20)).await;
        assert!(!pool.is_starved(), "it was refused once and has not come back");
    }
}
