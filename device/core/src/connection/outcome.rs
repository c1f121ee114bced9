//! What the end of an attempt or a connection means: for the token, for a login that waits, and for
//! the time of the next attempt. Rejected is not unreachable: only the cloud's own word costs
//! anything.

use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason, Refusal};

use super::{Connection, Link};
use crate::event::{Event, FailReason, LostReason};
use crate::time::Time;
use crate::timers::Timer;
use crate::watch::Network;

/// When the next attempt comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// After a small random spread.
    AtOnce,
    /// After the back-off; the longest one while the network is said to be down.
    Backoff,
    /// After the longest back-off, whatever the network says.
    Longest,
    /// After what the cloud asked for, and a little more so that not all come together.
    Ordered(Duration),
}

impl Connection {
    /// The cloud refused the upgrade.
    pub(super) fn refused(&mut self, now: Time, refusal: Refusal, retry_after: Option<Duration>) {
        let by_login = matches!(self.link, Link::Dialing { by_login: true, .. });
        let reason = FailReason::Refused(refusal);
        if !reason.is_rejected() {
            return self.fail(now, reason, retry_after.map_or(Next::Backoff, Next::Ordered));
        }
        if by_login {
            self.reject_login(refusal);
            return self.fail(now, reason, Next::AtOnce);
        }
        match refusal {
            Refusal::TokenExpired | Refusal::TokenRevoked => {
                self.forget_token();
                self.fail(now, reason, Next::Longest);
            }
            Refusal::TokenInvalid
            | Refusal::WrongDevice
            | Refusal::BadCredentials
            | Refusal::Blocked
            | Refusal::MissingHeader
            | Refusal::NotBase64
            | Refusal::Malformed
            | Refusal::NoDeviceId
            | Refusal::UnsupportedDialect
            | Refusal::HeaderTooLong
            | Refusal::RateLimited
            | Refusal::Unavailable => self.fail(now, reason, Next::Longest),
        }
    }

    /// The attempt is over without a connection.
    pub(super) fn fail(&mut self, now: Time, reason: FailReason, next: Next) {
        self.emit(Event::ConnectionFailed { reason });
        self.schedule(now, next);
    }

    /// The link is gone.
    pub(super) fn lost(&mut self, now: Time, reason: LostReason) {
        if !matches!(self.link, Link::Dialing { .. } | Link::Connected(_)) {
            return;
        }
        let next = match &reason {
            LostReason::Closed(close) => self.after_close(*close),
            LostReason::Slept => Next::AtOnce,
            LostReason::NoPong if self.is_probing() => Next::AtOnce,
            LostReason::NoPong | LostReason::Broken(_) | LostReason::Local => Next::Backoff,
        };
        let replaced =
            matches!(&reason, LostReason::Closed(close) if close.code == CloseCode::Replaced);
        self.emit(if matches!(self.link, Link::Connected(_)) {
            Event::ConnectionLost { reason }
        } else {
            Event::ConnectionFailed { reason: FailReason::Lost(reason) }
        });
        if replaced {
            self.emit(Event::Replaced);
        }
        self.schedule(now, next);
    }

    /// Waits for the next attempt, or becomes unregistered if there is nothing to attempt with.
    pub(super) fn schedule(&mut self, now: Time, next: Next) {
        if self.login.is_none() && self.tokens.get().is_none() {
            return self.unregister();
        }
        let hurry = matches!(self.link, Link::Dialing { hurry: true, .. });
        let delay = match next {
            Next::AtOnce => self.backoff.up_to(self.config.spread),
            Next::Backoff if hurry => self.backoff.up_to(self.config.spread),
            Next::Backoff if self.network == Some(Network::Down) => {
                self.backoff.longest_after_failure()
            }
            Next::Backoff => self.backoff.after_failure(),
            Next::Longest => self.backoff.longest_after_failure(),
            Next::Ordered(delay) => {
                let delay = delay.min(self.config.max_ordered_delay);
                // The more often it was sent away, the more it spreads its return.
                delay + self.backoff.after_failure().max(self.backoff.up_to(delay / 10))
            }
        };
        self.stop_link_timers();
        let ordered = matches!(next, Next::Longest | Next::Ordered(_));
        self.link = Link::Waiting { ordered, since: now };
        self.timers.set(Timer::Retry, now + delay);
        self.emit(Event::ConnectionScheduled { delay });
    }

    /// The network is back: the wait ends after the small random spread, if not before.
    pub(super) fn hasten(&mut self, now: Time) {
        let soon = now + self.backoff.up_to(self.config.spread);
        if self.timers.get(Timer::Retry).is_none_or(|at| soon < at) {
            self.timers.set(Timer::Retry, soon);
            self.emit(Event::ConnectionScheduled { delay: soon - now });
        }
    }

    /// The network is gone: the wait becomes the longest back-off, counted from when it began, so
    /// that a network that comes and goes does not put the attempt off for ever.
    pub(super) fn slacken(&mut self, now: Time, since: Time) {
        let until = (since + self.backoff.longest()).max(now);
        self.timers.set(Timer::Retry, until);
        self.emit(Event::ConnectionScheduled { delay: until - now });
    }

    fn after_close(&mut self, close: CloseReason) -> Next {
        match close.code {
            CloseCode::Revoked => {
                self.forget_token();
                Next::Longest
            }
            CloseCode::Policy | CloseCode::Blocked | CloseCode::Replaced => Next::Longest,
            CloseCode::Restart | CloseCode::Overloaded => {
                close.retry_after.map_or(Next::Backoff, Next::Ordered)
            }
            CloseCode::Normal
            | CloseCode::GoingAway
            | CloseCode::ProtocolError
            | CloseCode::TooBig
            | CloseCode::InternalError
            | CloseCode::Other(_) => Next::Backoff,
        }
    }
}
