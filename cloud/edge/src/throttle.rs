//! Limits how often something happens: accepting connections, and writing a line to the log.

use std::time::Duration;

use fedecks_common::RateLimit;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A [`RateLimit`] that callers wait for.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    limit: Option<RateLimit>,
    full_at: Mutex<std::time::Instant>,
}

impl TokenBucket {
    /// At least one token per second, and a burst of at least one.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            limit: RateLimit::per_second(per_second.max(1), burst),
            full_at: Mutex::new(Instant::now().into_std()),
        }
    }

    /// Waits until there is a token and takes it.
    pub(crate) async fn take(&self) {
        while let Err(until) = self.try_take(Instant::now().into_std()) {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Takes a token, or returns the time of the next one.
    fn try_take(&self, now: std::time::Instant) -> Result<(), std::time::Instant> {
        let Some(limit) = self.limit else { return Ok(()) };
        let mut full_at = self.full_at.lock();
        match limit.blocked_until(*full_at, now) {
            Some(until) => Err(until),
            None => {
                limit.take(&mut *full_at, now);
                Ok(())
            }
        }
    }
}

/// Limits a log line that would otherwise be written for each of many connections to one per second.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Option<Instant>>);

impl LogThrottle {
    /// Whether the line may be written now.
    pub(crate) fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock();
        let due = last.is_none_or(|last| now >= last + Duration::from_secs(1));
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_immediately_and_then_the_steady_rate() {
        let bucket = TokenBucket::new(10, 3);
        let start = Instant::now();
        let mut passed = Vec::new();
        for _ in 0..6 {
            bucket.take().await;
            passed.push(start.elapsed().as_millis());
        }
        assert_eq!(passed[..3], [0, 0, 0]);
        for (index, at) in passed[3..].iter().enumerate() {
            let due = 100 * (index as u128 + 1);
            // tokio's timers have a resolution of one millisecond.
            assert!((due..due + 2).contains(at), "{passed:?}");
        }
        let saved_up = Instant::now().into_std() + Duration::from_secs(3600);
        assert_eq!((0..10).take_while(|_| bucket.try_take(saved_up).is_ok()).count(), 3);
    }

    #[test]
    fn a_rate_of_zero_still_lets_one_through() {
        let bucket = TokenBucket::new(0, 0);
        let now = std::time::Instant::now();
        assert_eq!(bucket.try_take(now), Ok(()));
        assert_eq!(bucket.try_take(now), Err(now + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_line_is_due_once_per_second() {
        let throttle = LogThrottle::default();
        for (wait_ms, due) in [(0, true), (0, false), (999, false), (1, true)] {
            tokio::time::advance(Duration::from_millis(wait_ms)).await;
            assert_eq!(throttle.is_due(), due, "after {wait_ms} ms more");
        }
    }
}
