//! Limits on how often something happens: accepting connections, and lines of the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets so many through per second, and a burst after a quiet time.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Between two tokens.
    interval: Duration,
    /// How much time is worth saving up.
    burst: Duration,
    /// When the bucket would be full again; a token moves it by one interval.
    full_at: Mutex<Instant>,
}

impl TokenBucket {
    /// At least one per second and a burst of one, whatever is asked.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst.max(1), full_at: Mutex::new(Instant::now()) }
    }

    /// Takes a token, after waiting for one if need be.
    pub(crate) async fn take(&self) {
        while let Err(until) = self.try_take(Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Takes a token, or says when there will be one.
    fn try_take(&self, now: Instant) -> Result<(), Instant> {
        let mut full_at = lock(&self.full_at);
        let after = (*full_at).max(now) + self.interval;
        if after <= now + self.burst {
            *full_at = after;
            Ok(())
        } else {
            Err(after - self.burst)
        }
    }
}

/// For a log line that would otherwise be written for each of many connections: once per second.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Option<Instant>>);

impl LogThrottle {
    pub(crate) fn now(&self) -> bool {
        let now = Instant::now();
        let mut last = lock(&self.0);
        let due = last.is_none_or(|last| now >= last + Duration::from_secs(1));
        if due {
            *last = Some(now);
        }
        due
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_then_so_many_per_second() {
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
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_time_saves_up_one_burst_and_not_more() {
        let bucket = TokenBucket::new(10, 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let now = Instant::now();
        let passed = (0..10).take_while(|_| bucket.try_take(now).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn zero_per_second_still_lets_one_through() {
        let bucket = TokenBucket::new(0, 0);
        let now = Instant::now();
        assert_eq!(bucket.try_take(now), Ok(()));
        assert_eq!(bucket.try_take(now), Err(now + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_due_once_per_second() {
        let once = LogThrottle::default();
        assert!(once.now());
        assert!(!once.now());
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(!once.now());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(once.now());
    }
}
