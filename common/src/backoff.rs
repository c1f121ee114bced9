//! Exponential backoff without randomness. Add jitter where many clients retry against the same server.

use std::time::Duration;

/// Delays that double from one attempt to the next, up to a cap.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The first delay is `base`. A `cap` below it counts as `base`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// Counts a failure and returns the delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.delay_after(self.failures);
        self.count_failure();
        delay
    }

    /// The delay before the next attempt after this many earlier failures, where they are counted elsewhere.
    pub fn delay_after(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap())
    }

    /// Counts a failure that was followed by another delay.
    pub fn count_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Forgets failures until the next delay is at most `limit`, or is the first one.
    pub fn lower_to(&mut self, limit: Duration) {
        let most = limit.as_nanos().checked_div(self.base.as_nanos()).and_then(u128::checked_ilog2);
        self.failures = self.failures.min(most.unwrap_or(0));
    }

    /// The longest delay.
    pub fn cap(&self) -> Duration {
        self.cap.max(self.base)
    }

    /// The number of failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// From a second to a minute, for retries that depend on another program on the same machine.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let delays: Vec<u64> = (0..8).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.failures(), 8);
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::from_secs(1));
    }

    #[test]
    fn a_lowered_delay_is_the_longest_within_the_limit() {
        for (limit, next) in [(0, 1), (1, 1), (3, 2), (4, 4), (31, 16), (32, 32), (1_000, 60)] {
            let mut backoff = Backoff { failures: 20, ..Backoff::default() };
            backoff.lower_to(Duration::from_secs(limit));
            assert_eq!(backoff.next_delay(), Duration::from_secs(next), "limit {limit}");
        }
        let mut backoff = Backoff { failures: 1, ..Backoff::default() };
        backoff.lower_to(Duration::from_secs(1_000));
        assert_eq!(backoff.failures(), 1);
        let mut none = Backoff { base: Duration::ZERO, failures: 3, ..Backoff::default() };
        none.lower_to(Duration::MAX);
        assert_eq!(none.next_delay(), Duration::ZERO);
    }

    #[test]
    fn many_failures_and_extreme_limits_do_not_overflow() {
        let mut backoff = Backoff { failures: u32::MAX, ..Backoff::default() };
        assert_eq!(backoff.next_delay(), backoff.cap());
        assert_eq!(backoff.failures(), u32::MAX);
        let mut longest = Backoff::new(Duration::MAX, Duration::ZERO);
        assert_eq!((longest.next_delay(), longest.next_delay()), (Duration::MAX, Duration::MAX));
    }
}
