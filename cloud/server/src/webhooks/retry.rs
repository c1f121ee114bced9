//! What follows an attempt to deliver an event: when it is tried again, and when that ends. It sends and stores
//! nothing.

use std::time::Duration;

use fedecks_common::Backoff;

/// Between attempts, until the event is too old.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));

/// The delays between attempts whose answers reject the event itself. After the attempt that follows the last one it
/// is parked.
const REJECTED_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// An attempt that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailedAttempt {
    /// The answer rejects the event itself, and would do so again.
    pub(super) rejected: bool,
    /// The number of earlier attempts of the event.
    pub(super) attempts: u32,
    /// The number of those that were rejected.
    pub(super) rejections: u32,
    /// The event is older than it may become.
    pub(super) too_old: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt after this time.
    Retry(Duration),
    /// The event is kept as a dead letter, and its device's next one follows.
    Park,
    /// The event is dropped, and its device's next one follows.
    GiveUp,
}

impl FailedAttempt {
    /// `random`, from 0 to 1, is the jitter.
    pub(super) fn next(self, random: f64) -> Next {
        if self.rejected {
            let rejections = usize::try_from(self.rejections).unwrap_or(usize::MAX);
            return REJECTED_DELAYS.get(rejections).map_or(Next::Park, |delay| Next::Retry(*delay));
        }
        if self.too_old {
            return Next::GiveUp;
        }
        let jitter = 0.5 + random.clamp(0.0, 1.0) / 2.0;
        Next::Retry(BACKOFF.delay_after(self.attempts).mul_f64(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: FailedAttempt =
        FailedAttempt { rejected: false, attempts: 0, rejections: 0, too_old: false };

    #[test]
    fn delays_double_up_to_five_minutes() {
        let seconds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        for (attempts, seconds) in (0..).zip(seconds).chain([(1000, 300), (u32::MAX, 300)]) {
            let attempt = FailedAttempt { attempts, ..FAILED };
            let delay = Duration::from_secs(seconds);
            assert_eq!(attempt.next(1.0), Next::Retry(delay), "{attempts}");
            assert_eq!(attempt.next(0.0), Next::Retry(delay / 2), "{attempts}");
        }
        assert_eq!(FailedAttempt { too_old: true, ..FAILED }.next(0.0), Next::GiveUp);
    }

    #[test]
    fn the_third_rejection_parks_an_event() {
        // However often it failed otherwise.
        for attempts in [0, 50] {
            let of = |rejections| FailedAttempt {
                rejected: true,
                attempts: attempts + rejections,
                rejections,
                too_old: true,
            };
            assert_eq!(of(0).next(0.5), Next::Retry(Duration::from_secs(1)));
            assert_eq!(of(1).next(0.5), Next::Retry(Duration::from_secs(5)));
            assert_eq!(of(2).next(0.5), Next::Park);
            assert_eq!(of(9).next(0.5), Next::Park);
        }
    }
}
