//! Random delays between attempts to connect. When which delay applies is in `connection/retry_policy`.

use std::time::Duration;

use fedecks_common::Backoff;

use crate::config::Config;

/// Exponential backoff with full jitter, so that a fleet does not reconnect in step.
#[derive(Debug)]
pub(crate) struct JitteredBackoff {
    backoff: Backoff,
    good_after: Duration,
    random: fastrand::Rng,
}

impl JitteredBackoff {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        let backoff = Backoff::new(config.backoff_base, config.backoff_cap);
        let good_after = config.good_after.min(config.backoff_base.saturating_mul(10));
        Self { backoff, good_after, random: fastrand::Rng::with_seed(seed) }
    }

    /// A good connection of this length has ended: forgets failures until the next delay is at most a tenth of it, so
    /// that a device is connected most of the time though something ends each connection. One that was shorter than
    /// [`Config::good_after`], or than ten first delays, forgets nothing: who accepts and hangs up at once is left
    /// alone.
    pub(crate) fn after_connection(&mut self, lasted: Duration) {
        if lasted >= self.good_after {
            self.backoff.lower_to(lasted / 10);
        }
    }

    /// Counts a failure and returns a random delay.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let bound = self.backoff.next_delay();
        self.up_to(bound)
    }

    /// Counts a failure and returns the maximum delay.
    pub(crate) fn max_after_failure(&mut self) -> Duration {
        self.backoff.count_failure();
        self.max()
    }

    /// The maximum delay: a random one between half of the cap and the cap.
    pub(crate) fn max(&mut self) -> Duration {
        let half = self.backoff.cap() / 2;
        half.saturating_add(self.up_to(half))
    }

    /// A random delay of at most `bound`.
    pub(crate) fn up_to(&mut self, bound: Duration) -> Duration {
        let bound = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.u64(0..=bound))
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

    fn backoff(seed: u64) -> JitteredBackoff {
        JitteredBackoff::new(&Config::new(DeviceId::new("d").unwrap()), seed)
    }

    #[test]
    fn the_bound_of_the_delay_doubles_up_to_the_cap() {
        for failures in 0..12 {
            let delays = (0..500).map(|seed| {
                let mut backoff = backoff(seed);
                (0..failures).for_each(|_| backoff.backoff.count_failure());
                backoff.after_failure()
            });
            let longest = delays.max().unwrap().as_secs_f64();
            let bound = f64::from(1_u32 << failures).min(300.0);
            assert!(longest <= bound && longest > 0.9 * bound, "{failures}: {longest} of {bound}");
        }
    }

    #[test]
    fn the_maximum_delay_is_between_half_of_the_cap_and_the_cap() {
        let mut backoff = backoff(7);
        for _ in 0..1_000 {
            let delay = backoff.max();
            assert!(delay >= Duration::from_secs(150) && delay <= Duration::from_secs(300));
        }
    }
}
