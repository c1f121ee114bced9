//! A point in time that takes half of the memory of an `Instant`, of which every session has some, and that is faster
//! to reckon with.

use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

use tokio::time::Instant;

/// A time since the start of the cloud, in nanoseconds. An `Option` of it takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

const NANOS: u64 = 1_000_000_000;

impl Moment {
    /// The time `at`, if `start` is when the cloud started.
    pub(crate) fn new(at: Instant, start: Instant) -> Self {
        Self::after(at.saturating_duration_since(start))
    }

    /// So long after the start.
    pub(crate) fn after(since_start: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(since_start)))
    }

    /// The same time as an instant.
    pub(crate) fn instant(self, start: Instant) -> Instant {
        start + self.since_start()
    }

    /// How long after the start it is.
    pub(crate) fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    /// The same in whole seconds.
    pub(crate) fn seconds(self) -> u32 {
        u32::try_from((self.0.get() - 1) / NANOS).unwrap_or(u32::MAX)
    }

    /// The beginning of a second.
    pub(crate) fn at_second(second: u32) -> Self {
        Self(NonZeroU64::MIN.saturating_add(u64::from(second) * NANOS))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// Not before the start.
impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(
            NonZeroU64::new(self.0.get().saturating_sub(nanos(duration)))
                .unwrap_or(NonZeroU64::MIN),
        )
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(NANOS).saturating_add(duration.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_the_same_instant_in_half_of_the_size() {
        let start = Instant::now();
        for nanos in [0, 1, 3_600_000_000_007] {
            let at = start + Duration::from_nanos(nanos);
            assert_eq!(Moment::new(at, start).instant(start), at);
            assert_eq!(Moment::new(at, start).since_start(), at - start);
        }
        let before = start - Duration::from_secs(1);
        assert_eq!(Moment::new(before, start).instant(start), start);
        assert_eq!(size_of::<Option<Moment>>() * 2, size_of::<Instant>());
    }

    #[test]
    fn moments_are_reckoned_like_instants_within_bounds() {
        let moment = Moment::at_second(7);
        assert_eq!(moment, Moment::after(Duration::from_secs(7)));
        assert_eq!((moment + Duration::from_millis(999)).seconds(), 7);
        assert_eq!(moment + Duration::from_secs(2) - Duration::from_secs(2), moment);
        assert_eq!((moment - Duration::from_nanos(1)).seconds(), 6);
        assert_eq!(moment - Duration::from_secs(8), Moment::at_second(0));
        assert_eq!((moment + Duration::MAX).seconds(), u32::MAX);
        assert!(Moment::at_second(u32::MAX) < moment + Duration::MAX);
    }
}
