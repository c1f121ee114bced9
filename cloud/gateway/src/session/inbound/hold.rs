//! Streams whose next message comes again after a while.

use std::time::Duration;

/// Which streams are held, and how often in a row.
#[derive(Debug, Default)]
pub(super) struct Holds(Vec<Hold>);

#[derive(Debug)]
struct Hold {
    handle: u64,
    times: u32,
    /// When it ends; `None` if it has.
    until: Option<Duration>,
    /// The number up to which the sender need not repeat; `None` before the rest is let go.
    to: Option<u64>,
}

/// How long the first hold is. It doubles each time.
const FIRST: Duration = Duration::from_secs(1);

/// How long a hold is at most.
const LONGEST: Duration = Duration::from_secs(60);

impl Holds {
    /// Holds a stream, unless it is held.
    pub(super) fn hold(&mut self, handle: u64, now: Duration) {
        let known = self.0.iter().position(|hold| hold.handle == handle);
        let at = known.unwrap_or_else(|| {
            self.0.push(Hold { handle, times: 0, until: None, to: None });
            self.0.len() - 1
        });
        let Some(hold) = self.0.get_mut(at).filter(|hold| hold.until.is_none()) else { return };
        let wait = FIRST.saturating_mul(2_u32.saturating_pow(hold.times)).min(LONGEST);
        hold.times = hold.times.saturating_add(1);
        hold.until = Some(now + wait);
        hold.to = None;
    }

    /// Whether what arrived of a held stream is still to be let go.
    pub(super) fn is_pending(&self) -> bool {
        self.0.iter().any(Hold::is_pending)
    }

    /// Lets go of what arrived of the held streams: `rewind` returns the number up to which a stream is done.
    pub(super) fn apply(&mut self, mut rewind: impl FnMut(u64) -> Option<u64>) {
        for hold in self.0.iter_mut().filter(|hold| hold.is_pending()) {
            hold.to = rewind(hold.handle);
            if hold.to.is_none() {
                hold.until = None;
            }
        }
    }

    /// The result of a message of the stream is stored.
    pub(super) fn succeeded(&mut self, handle: u64) {
        self.0.retain(|hold| hold.handle != handle || hold.until.is_some());
    }

    /// A stream whose hold ends, and the number up to which its sender need not repeat.
    pub(super) fn poll(&mut self, now: Duration) -> Option<(u64, u64)> {
        let hold = self.0.iter_mut().find(|hold| hold.ends().is_some_and(|end| end <= now))?;
        hold.until = None;
        Some((hold.handle, hold.to?))
    }

    /// When the next hold ends.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.iter().filter_map(Hold::ends).min()
    }

    /// The stream is finished.
    pub(super) fn forget(&mut self, handle: u64) {
        self.0.retain(|hold| hold.handle != handle);
    }
}

impl Hold {
    fn is_pending(&self) -> bool {
        self.until.is_some() && self.to.is_none()
    }

    /// When it ends. Not before the rest is let go, however long it takes to store what was handled before.
    fn ends(&self) -> Option<Duration> {
        self.until.filter(|_| self.to.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_double_up_to_a_minute_until_a_message_succeeds() {
        let (mut holds, mut now) = (Holds::default(), Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..8 {
            holds.hold(7, now);
            holds.hold(7, now + FIRST);
            assert!(holds.is_pending());
            holds.apply(|handle| Some(handle + 1));
            assert!(!holds.is_pending());
            let until = holds.next().unwrap();
            waits.push((until - now).as_secs());
            assert_eq!(holds.poll(until - Duration::from_millis(1)), None);
            assert_eq!(holds.poll(until), Some((7, 8)));
            assert_eq!(holds.poll(until), None);
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        holds.succeeded(7);
        holds.hold(7, now);
        holds.apply(Some);
        assert_eq!(holds.next(), Some(now + FIRST));
    }

    #[test]
    fn a_hold_that_passes_before_the_rest_is_let_go_still_ends() {
        let mut holds = Holds::default();
        holds.hold(7, Duration::ZERO);
        let late = FIRST * 2;
        assert_eq!((holds.poll(late), holds.next()), (None, None));
        holds.apply(|_| Some(3));
        assert_eq!(holds.poll(late), Some((7, 3)));
    }

    #[test]
    fn a_finished_stream_is_not_remembered() {
        let mut holds = Holds::default();
        for handle in 0..100 {
            holds.hold(handle, Duration::ZERO);
            holds.forget(handle);
        }
        assert!(holds.0.is_empty());
    }
}
