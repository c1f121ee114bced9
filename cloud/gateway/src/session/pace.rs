//! How fast a device may send.

use std::time::Duration;

use tokio::time::Instant;

use crate::options::Options;

/// How fast devices may send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between two messages.
    interval: Duration,
    /// How much time is worth saving up.
    burst: Duration,
    /// When this was made.
    start: Instant,
}

/// How much of its allowance one device has used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    /// When the allowance would be whole again; a message moves it by one interval.
    whole_at: Instant,
}

impl Pace {
    /// `None` for no limit.
    pub(crate) fn new(options: &Options) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(options.messages_per_second)?;
        let start = Instant::now();
        Some(Self { interval, burst: interval * options.message_burst, start })
    }

    /// A number of seconds that goes on: takes a quarter of the place of an instant.
    pub(super) fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.start).as_secs().try_into().unwrap_or(u32::MAX)
    }

    /// Until when nothing may be read of the device: at most a second from now.
    pub(super) fn barred_until(&self, used: Used, now: Instant) -> Option<Instant> {
        let after = used.whole_at + self.interval;
        (after > now + self.burst).then(|| after - self.burst)
    }

    /// The device sent something.
    pub(super) fn charge(&self, used: &mut Used, now: Instant) {
        used.whole_at = used.whole_at.max(now) + self.interval;
    }
}

impl Used {
    pub(super) fn nothing(now: Instant) -> Self {
        Self { whole_at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(messages_per_second: u32, message_burst: u32) -> Option<Pace> {
        Pace::new(&Options { messages_per_second, message_burst, ..Options::default() })
    }

    #[test]
    fn a_burst_passes_at_once_and_then_so_many_per_second() {
        let pace = pace(10, 3).unwrap();
        let start = Instant::now();
        let (mut now, mut used) = (start, Used::nothing(start));
        let mut passed = Vec::new();
        for _ in 0..6 {
            if let Some(until) = pace.barred_until(used, now) {
                assert!(until > now);
                now = until;
                assert_eq!(pace.barred_until(used, now), None);
            }
            pace.charge(&mut used, now);
            passed.push((now - start).as_millis());
        }
        assert_eq!(passed, [0, 0, 0, 100, 200, 300]);
    }

    #[test]
    fn a_quiet_time_saves_up_one_burst_and_not_more() {
        let pace = pace(10, 3).unwrap();
        let start = Instant::now();
        let mut used = Used::nothing(start);
        let now = start + Duration::from_secs(3600);
        let mut passed = 0;
        while pace.barred_until(used, now).is_none() {
            pace.charge(&mut used, now);
            passed += 1;
        }
        assert_eq!(passed, 3);
    }

    #[test]
    fn no_limit_is_no_pace_and_the_extremes_do_not_overflow() {
        assert!(pace(0, 1).is_none());
        let now = Instant::now();
        for (messages, burst) in [(1, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 1), (1, 1)] {
            let pace = pace(messages, burst).unwrap();
            let mut used = Used::nothing(now);
            pace.charge(&mut used, now);
            let wait = pace.barred_until(used, now).map(|until| until - now);
            assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(1)), "{wait:?}");
        }
    }
}
