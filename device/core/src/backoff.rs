//! Random waits between attempts to connect.

use std::time::Duration;

use crate::config::Config;

/// Random waits that grow with each failure, so that a fleet does not come back in step:
/// exponential with full jitter, capped.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        Self {
            base: config.backoff_base,
            cap: config.backoff_cap.max(config.backoff_base),
            failures: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Counts a failure and gives the wait after it.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.up_to(self.base.saturating_mul(factor).min(self.cap))
    }

    /// Counts a failure and gives the longest back-off.
    pub(crate) fn longest_after_failure(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.longest()
    }

    /// The longest back-off: between half of the cap and all of it.
    pub(crate) fn longest(&mut self) -> Duration {
        let half = self.cap / 2;
        half.saturating_add(self.up_to(half))
    }

    /// A random wait of at most `most`.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.u64(0..=most))
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::DeviceId;

    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(&Config::new(DeviceId::new("d").unwrap()), 7)
    }

    #[test]
    fn the_wait_doubles_its_bound_up_to_the_cap() {
        let mut longest_seen = Vec::new();
        for failures in 0..12 {
            let waits = (0..500).map(|seed| {
                let mut backoff = Backoff::new(&Config::new(DeviceId::new("d").unwrap()), seed);
                backoff.failures = failures;
                backoff.after_failure()
            });
            longest_seen.push(waits.max().unwrap().as_secs_f64());
        }
        for (failures, longest) in longest_seen.into_iter().enumerate() {
            let bound = f64::from(1_u32 << failures).min(300.0);
            assert!(longest <= bound && longest > 0.9 * bound, "{failures}: {longest} of {bound}");
        }
    }

    #[test]
    fn the_longest_wait_is_between_half_of_the_cap_and_the_cap() {
        let mut backoff = backoff();
        for _ in 0..1_000 {
            let wait = backoff.longest();
            assert!(wait >= Duration::from_secs(150) && wait <= Duration::from_secs(300));
        }
    }

    #[test]
    fn any_number_of_failures_is_counted_without_overflow() {
        let mut backoff = backoff();
        backoff.failures = u32::MAX;
        assert!(backoff.after_failure() <= Duration::from_secs(300));
        assert_eq!(backoff.failures(), u32::MAX);
    }
}
