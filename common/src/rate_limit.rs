//! A token bucket in two numbers (the generic cell rate algorithm). It keeps no clock and no lock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// How often something may happen: a steady rate, and a burst after a quiet time. The state of
/// each limited party is a single point in time, such as an [`Instant`](std::time::Instant): when its bucket would be
/// full again.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    /// Between two tokens.
    interval: Duration,
    /// The time that can be saved up.
    burst: Duration,
}

impl RateLimit {
    /// `burst` is at least one token. `None` for a rate of zero, which no interval expresses.
    pub fn per_second(rate: u32, burst: u32) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(rate)?;
        Some(Self { interval, burst: interval * burst.max(1) })
    }

    /// When the next token becomes available; `None` if one is available now.
    pub fn blocked_until<T>(&self, full_at: T, now: T) -> Option<T>
    where
        T: Copy + Ord + Add<Duration, Output = T> + Sub<Duration, Output = T>,
    {
        let after = full_at.max(now) + self.interval;
        (after > now + self.burst).then(|| after - self.burst)
    }

    /// Takes a token, even if there is none.
    pub fn take<T: Copy + Ord + Add<Duration, Output = T>>(&self, full_at: &mut T, now: T) {
        self.take_many(full_at, now, 1);
    }

    /// Takes a number of tokens, even if there are fewer. The next one is then available once they are paid
    /// back.
    pub fn take_many<T>(&self, full_at: &mut T, now: T, tokens: u32)
    where
        T: Copy + Ord + Add<Duration, Output = T>,
    {
        *full_at = (*full_at).max(now) + self.interval * tokens;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_burst_passes_immediately_and_then_the_steady_rate() {
        let limit = RateLimit::per_second(10, 3).unwrap();
        let start = Instant::now();
        let (mut now, mut full_at) = (start, start);
        let mut passed = Vec::new();
        for _ in 0..6 {
            if let Some(until) = limit.blocked_until(full_at, now) {
                assert!(until > now);
                now = until;
                assert_eq!(limit.blocked_until(full_at, now), None);
            }
            limit.take(&mut full_at, now);
            passed.push((now - start).as_millis());
        }
        assert_eq!(passed, [0, 0, 0, 100, 200, 300]);

        // A quiet time saves up one burst and not more.
        now += Duration::from_secs(3600);
        let mut burst = 0;
        while limit.blocked_until(full_at, now).is_none() {
            limit.take(&mut full_at, now);
            burst += 1;
        }
        assert_eq!(burst, 3);
    }

    #[test]
    fn many_tokens_are_taken_at_once_and_paid_back() {
        let limit = RateLimit::per_second(1000, 2000).unwrap();
        let now = Instant::now();
        let mut full_at = now;
        limit.take_many(&mut full_at, now, 1999);
        assert_eq!(limit.blocked_until(full_at, now), None);
        limit.take_many(&mut full_at, now, 3001);
        let wait = limit.blocked_until(full_at, now).map(|until| until - now);
        assert_eq!(wait, Some(Duration::from_millis(3001)));
    }

    #[test]
    fn extreme_rates_and_bursts_do_not_overflow() {
        assert!(RateLimit::per_second(0, 1).is_none());
        let now = Instant::now();
        for (rate, burst) in [(1, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 1), (1, 0)] {
            let limit = RateLimit::per_second(rate, burst).unwrap();
            let mut full_at = now;
            limit.take(&mut full_at, now);
            let wait = limit.blocked_until(full_at, now).map(|until| until - now);
            assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(1)), "{wait:?}");
        }
    }
}
