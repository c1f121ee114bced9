//! A point in time that takes half of the memory of an `Instant`, of which every session has some.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// A time since the start of the cloud. An `Option` of it takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(NonZeroU64);

impl Moment {
    /// The time `at`, if `start` is when the cloud started.
    pub(crate) fn new(at: Instant, start: Instant) -> Self {
        let nanos = at.saturating_duration_since(start).as_nanos();
        Self(NonZeroU64::MIN.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// The same time as an instant.
    pub(crate) fn instant(self, start: Instant) -> Instant {
        start + Duration::from_nanos(self.0.get() - 1)
    }
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
        }
        let before = start - Duration::from_secs(1);
        assert_eq!(Moment::new(before, start).instant(start), start);
        assert_eq!(size_of::<Option<Moment>>() * 2, size_of::<Instant>());
    }
}
