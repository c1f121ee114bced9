//! What the connection is doing.

use std::time::Duration;

use fedecks_device_core::{
    Connection, Event, FailReason, LostReason, Network, State, Stored, Time,
};
use fedecks_protocol::Refusal;

/// What the connection is doing, as of the last event.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// When it began to do that.
    pub since: Time,
    /// How many attempts there were.
    pub attempts: u64,
    /// How many attempts or connections have failed since one was stable.
    pub failures: u32,
    /// What the network watch reported last; none while it has reported nothing.
    pub network: Option<Network>,
    /// When the token that brings the device back expires, in seconds since 1970-01-01 UTC; none
    /// without a token.
    pub token_expires_at: Option<u64>,
    /// Whether the store has what is known here.
    pub stored: Stored,
    /// Why the store could not be read or written when it was tried last; none if it could.
    pub store_error: Option<String>,
    /// The last attempt or connection that failed by itself, if any did.
    pub last_failure: Option<Failure>,
    /// The last time that the cloud itself refused, if it ever did.
    pub last_refusal: Option<(Time, Refusal)>,
    /// When a connection was made last, if one ever was. It may be gone already.
    pub last_connected: Option<Time>,
    /// How long the last ping that was answered took to come back, on this connection or an earlier
    /// one.
    pub round_trip: Option<Duration>,
}

/// Why an attempt or a connection failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Time,
    /// Why, in words.
    pub what: String,
}

impl Status {
    pub(crate) fn of(core: &Connection, now: Time) -> Self {
        Self {
            state: core.state(),
            since: now,
            attempts: core.attempts(),
            failures: core.failures(),
            network: core.network(),
            token_expires_at: core.token().map(|issued| issued.expires_at),
            stored: core.stored(),
            store_error: None,
            last_failure: None,
            last_refusal: None,
            last_connected: None,
            round_trip: core.round_trip(),
        }
    }

    /// What the connection does now; the record of what went wrong stays.
    pub(crate) fn update(&mut self, core: &Connection, now: Time) {
        let now = Self::of(core, now);
        let stays = std::mem::discriminant(&now.state) == std::mem::discriminant(&self.state);
        *self = Self {
            since: if stays { self.since } else { now.since },
            store_error: self.store_error.take(),
            last_failure: self.last_failure.take(),
            last_refusal: self.last_refusal.take(),
            last_connected: self.last_connected.take(),
            ..now
        };
    }

    pub(crate) fn on_event(&mut self, now: Time, event: &Event) {
        let what = match event {
            Event::ConnectionFailed { reason } => match reason {
                FailReason::GivenUp => return,
                FailReason::Refused(refusal) => {
                    self.last_refusal = Some((now, *refusal));
                    reason.to_string()
                }
                FailReason::Timeout(_)
                | FailReason::Unreachable(_)
                | FailReason::Lost(_)
                | FailReason::NoWelcome => reason.to_string(),
            },
            Event::ConnectionLost { reason } => match reason {
                LostReason::Local => return,
                LostReason::Closed(_)
                | LostReason::Broken(_)
                | LostReason::NoPong
                | LostReason::Suspended => reason.to_string(),
            },
            Event::Connected => {
                self.last_connected = Some(now);
                return;
            }
            Event::Unregistered
            | Event::ConnectionScheduled { .. }
            | Event::Connecting { .. }
            | Event::Replaced
            | Event::Message(_)
            | Event::RawMessage(_)
            | Event::StoreFailed { .. } => return,
        };
        self.last_failure = Some(Failure { at: now, what });
    }

    /// Since when messages travel; none while they do not.
    pub fn connected_since(&self) -> Option<Time> {
        (self.state == State::Connected).then_some(self.since)
    }

    /// The state's name in status queries, on D-Bus and in JSON.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Unregistered => "unregistered",
            State::Offline { .. } => "offline",
            State::Waiting { .. } => "waiting",
            State::Dialing { .. } => "dialing",
            State::Connected => "connected",
            State::Closed => "closed",
        }
    }

    /// The network's name in the same places.
    pub fn network_name(&self) -> &'static str {
        match self.network {
            Some(Network::Up | Network::Changed) => "up",
            Some(Network::Down) => "down",
            None => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use fedecks_device_core::{Attempt, Config};
    use fedecks_protocol::{DeviceId, IssuedToken, Token};

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::new(Duration::from_secs(seconds))
    }

    /// A connection that waits for its first attempt.
    fn waiting() -> Connection {
        let mut core = Connection::new(Config::new(DeviceId::new("d").unwrap()), 7);
        let token = IssuedToken { token: Token::new("t").unwrap(), expires_at: 5 };
        core.handle_loaded(at(1), Ok(Some(token)));
        core
    }

    #[test]
    fn a_state_that_goes_on_keeps_its_beginning_and_what_went_wrong_stays() {
        let mut core = waiting();
        let mut status = Status::of(&core, at(1));
        assert_eq!((status.since, status.token_expires_at), (at(1), Some(5)));
        status.on_event(
            at(2),
            &Event::ConnectionFailed { reason: FailReason::Refused(Refusal::Blocked) },
        );
        status.store_error = Some("read-only".into());
        status.update(&core, at(3));
        assert_eq!(status.since, at(1));
        core.handle_reconnect(at(4)).unwrap();
        status.update(&core, at(4));
        assert_eq!((status.since, status.attempts), (at(4), 1));
        assert_eq!(status.last_refusal, Some((at(2), Refusal::Blocked)));
        let failure =
            Failure { at: at(2), what: "the cloud refused: the device is blocked".into() };
        assert_eq!(status.last_failure, Some(failure));
        assert_eq!(status.store_error.as_deref(), Some("read-only"));
        assert_eq!(status.connected_since(), None);
    }

    #[test]
    fn what_the_device_itself_ends_is_no_failure() {
        let mut status = Status::of(&waiting(), at(1));
        for event in [
            Event::ConnectionLost { reason: LostReason::Local },
            Event::ConnectionFailed { reason: FailReason::GivenUp },
            Event::Connecting { attempt: Attempt(1) },
        ] {
            status.on_event(at(2), &event);
            assert_eq!(status.last_failure, None);
        }
        status.on_event(at(2), &Event::ConnectionLost { reason: LostReason::NoPong });
        assert!(status.last_failure.is_some());
        assert_eq!(status.last_refusal, None);
    }
}
