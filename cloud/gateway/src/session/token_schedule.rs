//! When a session's device gets a new token, and what time that is sealed with. Does not make tokens.

use std::time::Duration;

use fedecks_store::Clock;

use super::moment::Moment;
use crate::auth::device::AuthenticatedBy;

/// When the next token of a session is due, by time or by request.
pub(super) struct TokenSchedule {
    due: Moment,
    /// When the device last requested a token and got one.
    requested_at: Option<Moment>,
}

/// How often a device gets a token on request.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait with a token that cannot be sealed now.
const POSTPONEMENT: Duration = Duration::from_secs(10);

impl TokenSchedule {
    /// A token is due immediately after a login, or when the presented token is late or as old as
    /// `refresh`. One from the future counts as new.
    pub(super) fn new(by: AuthenticatedBy, refresh: Duration, clock: &Clock, now: Moment) -> Self {
        let delay = match by {
            AuthenticatedBy::Credentials
            | AuthenticatedBy::Certificate
            | AuthenticatedBy::Token { late: true, .. } => Duration::ZERO,
            AuthenticatedBy::Token { issued_at, late: false } => {
                refresh.saturating_sub(Duration::from_secs(clock.now().saturating_sub(issued_at)))
            }
        };
        Self { due: now + delay, requested_at: None }
    }

    /// Records that a token was sent.
    pub(super) fn sent(&mut self, refresh: Duration, now: Moment) {
        self.due = now + refresh;
    }

    /// Records that a token was due and could not be sealed.
    pub(super) fn postpone(&mut self, now: Moment) {
        self.due = now + POSTPONEMENT;
    }

    /// The device requests a token; returns false if it does so too often.
    pub(super) fn request(&mut self, now: Moment) -> bool {
        if self.requested_at.is_some_and(|at| now < at + REQUEST_INTERVAL) {
            return false;
        }
        self.requested_at = Some(now);
        true
    }

    pub(super) fn due(&self) -> Moment {
        self.due
    }
}

/// When a token of the session counts as sealed, in seconds since 1970; `None` while the clock is
/// certainly wrong.
///
/// That is now, but not before the presented token was sealed, unless the clock is known to be right.
/// Either that token is from a clock that was ahead, or the clock is behind now: then a new token would
/// end before the one that it replaces, and perhaps before the clock is right again.
pub(super) fn time_to_seal(by: AuthenticatedBy, clock: &Clock) -> Option<u64> {
    if clock.below_floor() {
        return None;
    }
    let now = clock.now();
    match by {
        AuthenticatedBy::Token { issued_at, .. } if issued_at > now && !clock.is_trusted() => {
            Some(issued_at)
        }
        AuthenticatedBy::Token { .. }
        | AuthenticatedBy::Credentials
        | AuthenticatedBy::Certificate => Some(now),
    }
}

#[cfg(test)]
mod tests {
    use fedecks_store::ManualClock;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const REFRESH: Duration = Duration::from_secs(3 * 3600);

    fn clock_at(now: u64, synchronized: bool) -> Clock {
        let manual = ManualClock::default();
        manual.set(now, synchronized);
        let clock = Clock::new(manual, 0);
        clock.set_floor(NOW - 100);
        clock
    }

    fn token(issued_at: u64) -> AuthenticatedBy {
        AuthenticatedBy::Token { issued_at, late: false }
    }

    #[test]
    fn a_token_is_due_by_the_age_of_the_presented_one() {
        let (clock, now) = (clock_at(NOW, false), Moment::at_second(7));
        for (by, after) in [
            (AuthenticatedBy::Credentials, 0),
            (token(NOW - 3600), 2 * 3600),
            (token(NOW - 4 * 3600), 0),
            (token(0), 0),
            (token(NOW + 40 * 24 * 3600), 3 * 3600),
            (token(u64::MAX), 3 * 3600),
            (AuthenticatedBy::Token { issued_at: NOW - 5, late: true }, 0),
        ] {
            let schedule = TokenSchedule::new(by, REFRESH, &clock, now);
            assert_eq!(schedule.due(), now + Duration::from_secs(after), "{by:?}");
        }
    }

    #[test]
    fn only_a_clock_that_is_right_seals_before_the_presented_token() {
        for (by, now, synchronized, sealed) in [
            (AuthenticatedBy::Credentials, NOW, false, Some(NOW)),
            (AuthenticatedBy::Credentials, NOW - 101, true, None),
            (token(NOW - 50), NOW, false, Some(NOW)),
            (token(NOW + 50), NOW, false, Some(NOW + 50)),
            (token(NOW + 50), NOW, true, Some(NOW)),
            (token(NOW + 50), NOW - 101, true, None),
        ] {
            let clock = clock_at(now, synchronized);
            assert_eq!(time_to_seal(by, &clock), sealed, "{by:?} {now} {synchronized}");
        }
    }
}
