//! Random delays between attempts to connect.

use std::time::Duration;

use fedecks_common::Backoff;

use crate::config::Config;

/// Exponential backoff with full jitter, so that a fleet does not reconnect in step.
#[derive(Debug)]
pub(crate) struct JitteredBackoff {
    backoff: Backoff,
    random: fastrand::Rng,
}

impl JitteredBackoff {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        let backoff = Backoff::new(config.backoff_base, config.backoff_cap);
        Self { backoff, random: fastrand::Rng::with_seed(seed) }
    }

    /// Counts a failure and returns the delay after it.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let most = self.backoff.next_delay();
        self.up_to(most)
    }

    /// Counts a failure and returns the longest delay.
    pub(crate) fn longest_after_failure(&mut self) -> Duration {
        self.backoff.count_failure();
        self.longest()
    }

    /// The longest delay: between half of the cap and all of it.
    pub(crate) fn longest(&mut self) -> Duration {
        let half = self.backoff.cap() / 2;
        half.saturating_add(self.up_to(half))
    }

    /// A random delay of at most `most`.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.u64(0..=most))
    }

    pub(crate) fn reset(&mut self) {
        self.backoff.reset();
    }

    pub(crate) fn failures(&self) -> u32 {
        self.backoff.failures()
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::DeviceId;

    use super::*;

    fn backoff() -> JitteredBackoff {
        JitteredBackoff::new(&Config::new(DeviceId::new("d").unwrap()), 7)
    }

    #[test]
    fn the_wait_doubles_its_bound_up_to_the_cap() {
        let mut longest_seen = Vec::new();
        for failures in 0..12 {
            let waits = (0..500).map(|seed| {
                let mut backoff =
                    JitteredBackoff::new(&Config::new(DeviceId::new("d").unwrap()), seed);
                (0..failures).for_each(|_| backoff.backoff.count_failure());
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
}
