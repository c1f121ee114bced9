//! The lines that wait to be written: bounded in bytes, and lossy, so that adding one never waits for the reader.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The largest number of bytes that are written at once. A pipe takes that many completely or not at all, so
/// lines are not mixed with those of another program. It is also the length of the longest line.
pub(super) const CHUNK: usize = 4096;

/// What is kept for lines while there are none, in bytes.
const AT_REST: usize = 16 * 1024;

/// Lines of all threads for the one that writes them.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is work for the writer.
    added: Condvar,
    /// Everything is written.
    empty: Condvar,
    capacity: usize,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Complete lines, after `written` bytes that are done with. Those of the current chunk stay until they are
    /// written, so that the bound includes them.
    lines: Vec<u8>,
    written: usize,
    /// Dropped lines that no line of the log tells of yet.
    untold: u64,
    /// Why the latest write failed, if it did.
    failed: Option<io::ErrorKind>,
    /// When the limiter's sums are due.
    sums_due: Option<Instant>,
}

/// What the writer has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Write the chunk.
    Write,
    /// Tell the limiter's sums.
    TellSums,
}

/// Lines that were dropped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) count: u64,
    /// Why they could not be written, if the reader was not only too slow.
    pub(super) failed: Option<io::ErrorKind>,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            added: Condvar::new(),
            empty: Condvar::new(),
            capacity: capacity.max(CHUNK),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds a line, which ends with a line break and has at most [`CHUNK`] bytes, or drops it.
    pub(super) fn add(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting().len() + line.len() > self.capacity {
            state.untold += 1;
            drop(state);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.make_room(line.len(), self.capacity);
        state.lines.extend_from_slice(line);
        drop(state);
        self.added.notify_one();
    }

    /// Has the writer tell the limiter's sums at `at`, unless it will do so earlier.
    pub(super) fn tell_sums_at(&self, at: Instant) {
        self.state().sums_due.get_or_insert(at);
        self.added.notify_one();
    }

    /// Waits until there is something to do. To write: `chunk` gets as many complete lines as it may have.
    pub(super) fn next(&self, chunk: &mut Vec<u8>) -> Work {
        let mut state = self.state();
        loop {
            let wait = state.sums_due.map(|due| due.saturating_duration_since(Instant::now()));
            if wait == Some(Duration::ZERO) {
                state.sums_due = None;
                return Work::TellSums;
            }
            if !state.waiting().is_empty() {
                first_lines(state.waiting(), chunk);
                return Work::Write;
            }
            state = match wait {
                None => self.added.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    self.added.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The chunk was written, or it cannot be and is dropped. Returns what was dropped, once a line about it has
    /// a chance: something was written, and half of the room is free.
    pub(super) fn written(&self, chunk: &[u8], result: io::Result<()>) -> Option<Dropped> {
        let mut state = self.state();
        state.written += chunk.len();
        if state.waiting().is_empty() {
            state.written = 0;
            state.lines.clear();
            state.lines.shrink_to(AT_REST);
        }
        let dropped = match result {
            Ok(()) if state.untold > 0 && state.waiting().len() <= self.capacity / 2 => {
                let count = std::mem::take(&mut state.untold);
                Some(Dropped { count, failed: state.failed.take() })
            }
            Ok(()) => None,
            Err(error) => {
                let count = chunk.iter().filter(|&&byte| byte == b'\n').count() as u64;
                state.untold += count;
                state.failed = Some(error.kind());
                self.dropped.fetch_add(count, Ordering::Relaxed);
                None
            }
        };
        let is_empty = state.waiting().is_empty() && dropped.is_none();
        drop(state);
        if is_empty {
            self.empty.notify_all();
        }
        dropped
    }

    /// Waits until everything is written, or `time` has passed.
    pub(super) fn flush(&self, time: Duration) {
        let state = self.state();
        // Whether it was in time makes no difference: the program ends.
        let _ = self.empty.wait_timeout_while(state, time, |state| !state.waiting().is_empty());
    }

    /// How many lines were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// No code panics while it has the lock, so a poisoned one is as good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> &[u8] {
        self.lines.get(self.written..).unwrap_or_default()
    }

    /// Doubles like a Vec, but not beyond the bound and a quarter, of which the lines take at most four fifths: so
    /// what they are moved for is at least a quarter of them.
    fn make_room(&mut self, more: usize, bound: usize) {
        if self.lines.len() + more <= self.lines.capacity() {
            return;
        }
        self.lines.drain(..self.written);
        self.written = 0;
        let most = bound + bound / 4;
        let capacity = (2 * (self.lines.len() + more)).min(most);
        if capacity > self.lines.capacity() {
            self.lines.reserve_exact(capacity - self.lines.len());
        }
    }
}

/// Copies as many complete lines as a chunk may have, and at least one.
fn first_lines(lines: &[u8], chunk: &mut Vec<u8>) {
    chunk.clear();
    chunk.extend_from_slice(lines.get(..CHUNK).unwrap_or(lines));
    if let Some(last) = chunk.iter().rposition(|&byte| byte == b'\n') {
        chunk.truncate(last + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(queue: &Queue) -> String {
        let mut chunk = Vec::new();
        assert_eq!(queue.next(&mut chunk), Work::Write);
        String::from_utf8(chunk).unwrap()
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted() {
        let queue = Queue::new(CHUNK);
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        for _ in 0..7 {
            queue.add(&line);
        }
        assert_eq!(queue.dropped(), 3);
        assert!(queue.state().lines.capacity() <= CHUNK + CHUNK / 4);
        // What is being written still takes its room.
        let chunk = next(&queue);
        assert_eq!(chunk.len(), CHUNK);
        queue.add(b"8\n");
        assert_eq!(queue.dropped(), 4);
        let dropped = queue.written(chunk.as_bytes(), Ok(()));
        assert_eq!(dropped, Some(Dropped { count: 4, failed: None }));
        queue.add(b"9\n");
        assert_eq!(next(&queue), "9\n");
        assert_eq!(queue.written(b"9\n", Ok(())), None);
    }

    #[test]
    fn the_count_is_told_once_half_of_the_room_is_free() {
        let queue = Queue::new(4 * CHUNK);
        let line = [b"x".repeat(CHUNK - 1), b"\n".to_vec()].concat();
        for _ in 0..5 {
            queue.add(&line);
        }
        let told = [(); 4].map(|()| {
            let chunk = next(&queue);
            queue.written(chunk.as_bytes(), Ok(())).map(|dropped| dropped.count)
        });
        assert_eq!(told, [None, Some(1), None, None]);
    }

    #[test]
    fn a_failed_write_costs_its_lines_and_is_told_later() {
        let queue = Queue::new(CHUNK);
        queue.add(b"1\n");
        queue.add(b"2\n");
        let chunk = next(&queue);
        assert_eq!(chunk, "1\n2\n");
        let full = io::ErrorKind::StorageFull;
        assert_eq!(queue.written(chunk.as_bytes(), Err(full.into())), None);
        queue.flush(Duration::ZERO);
        queue.add(b"3\n");
        let dropped = Dropped { count: 2, failed: Some(full) };
        assert_eq!(queue.written(next(&queue).as_bytes(), Ok(())), Some(dropped));
    }

    #[test]
    fn chunks_are_complete_lines_however_they_are_moved() {
        let queue = Queue::new(2 * CHUNK);
        let mut expected = String::new();
        let mut written = String::new();
        for number in 0..4000 {
            let line = format!("{number} {}\n", "x".repeat(number % 97));
            queue.add(line.as_bytes());
            expected += &line;
            if number % 50 == 49 {
                let chunk = next(&queue);
                assert!(chunk.ends_with('\n') && chunk.len() <= CHUNK);
                queue.written(chunk.as_bytes(), Ok(()));
                written += &chunk;
            }
        }
        while !queue.state().waiting().is_empty() {
            let chunk = next(&queue);
            queue.written(chunk.as_bytes(), Ok(()));
            written += &chunk;
        }
        let dropped = queue.dropped() as usize;
        assert_eq!(written.lines().count(), expected.lines().count() - dropped);
        let lines: std::collections::HashSet<_> = expected.lines().collect();
        assert!(written.lines().all(|line| lines.contains(line)));
    }

    #[test]
    fn memory_is_returned_once_all_is_written() {
        let queue = Queue::new(256 * 1024);
        let line = [b"x".repeat(CHUNK - 1), b"\n".to_vec()].concat();
        for _ in 0..64 {
            queue.add(&line);
        }
        assert_eq!(queue.state().waiting().len(), 256 * 1024);
        for _ in 0..64 {
            queue.written(next(&queue).as_bytes(), Ok(()));
        }
        assert!(queue.state().lines.capacity() <= AT_REST);
    }

    #[test]
    fn sums_are_told_when_they_are_due() {
        let queue = Queue::new(CHUNK);
        let soon = Instant::now() + Duration::from_millis(20);
        queue.tell_sums_at(soon);
        queue.tell_sums_at(soon + Duration::from_secs(3600));
        assert_eq!(queue.next(&mut Vec::new()), Work::TellSums);
        assert!(Instant::now() >= soon);
        queue.add(b"1\n");
        assert_eq!(next(&queue), "1\n");
    }
}
