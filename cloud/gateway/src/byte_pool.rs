//! A bound on what all sessions together keep in memory for their messages, in one direction. It knows no
//! session: each counts what it holds, and asks for the difference before it holds more.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A number of bytes that sessions share. What a session holds up to [`FREE`] is not counted, so that small
/// messages always pass.
#[derive(Debug)]
pub(crate) struct BytePool {
    max: usize,
    used: AtomicUsize,
    /// The part of it that waits in queues.
    queued: AtomicUsize,
    /// Whether a session was refused and less than half has become free since.
    starved: AtomicBool,
}

/// What each session may hold without being counted, in bytes.
pub(crate) const FREE: usize = 4096;

impl BytePool {
    pub(crate) const fn new(max: usize) -> Self {
        let [used, queued] = [const { AtomicUsize::new(0) }; 2];
        Self { max, used, queued, starved: AtomicBool::new(false) }
    }

    /// Changes what one session holds from `held` to `next` bytes, if there is room.
    pub(crate) fn try_change(&self, held: usize, next: usize) -> bool {
        let (before, after) = (counted(held), counted(next));
        if after <= before {
            self.release(before - after);
            return true;
        }
        let add = |used: usize| used.checked_add(after - before).filter(|sum| *sum <= self.max);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if !taken {
            self.starved.store(true, Ordering::Relaxed);
        }
        taken
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

    /// The same as [`BytePool::try_change`] for what waits in the queue of one session.
    pub(crate) fn try_queue(&self, held: usize, next: usize) -> bool {
        let queued = self.try_change(held, next);
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

    /// Whether a session may take a message of this many bytes from its queue, to send the result.
    /// What waits in queues does not count: it waits for this. What is being sent takes at most half of the
    /// sum, or is of one session.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let sending = self.used().saturating_sub(self.queued.load(Ordering::Relaxed));
        let fits = sending.saturating_add(counted(bytes)) <= self.max / 2;
        let room = fits || sending == 0 || bytes <= FREE;
        if !room {
            self.starved.store(true, Ordering::Relaxed);
        }
        room
    }

    /// Whether sessions wait for what others hold.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
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

    fn release(&self, bytes: usize) {
        if bytes > 0 && self.used.fetch_sub(bytes, Ordering::Relaxed) - bytes <= self.max / 2 {
            self.starved.store(false, Ordering::Relaxed);
        }
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
        assert!(!pool.has_room(FREE + 1) && pool.has_room(FREE));
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
        assert!(pool.has_room(FREE + 5000));
        assert!(pool.has_room(FREE + 20_000), "nothing is being sent");
        pool.change(0, FREE + 1);
        assert!(!pool.has_room(FREE + 5000) && pool.has_room(FREE + 4999));
        pool.unqueue(FREE + 10_000, FREE + 1);
        assert!(!pool.has_room(FREE + 5000));
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
}
