//! The connection's status: its current state, and what went wrong last.

use std::time::Duration;

use fedecks_device_core::{
    Connection, DiskQueueStatus, Event, FailReason, InboxStatus, LostReason, Network, QueueStatus,
    State, Stored, Time,
};
use fedecks_protocol::{CloseCode, Refusal};

/// The connection's status as of the last event.
///
/// ```no_run
/// # fn example(client: &fedecks_device::Client) {
/// let status = client.status();
/// println!("{}, {} attempts", status.state, status.attempts);
/// if let Some(failure) = &status.last_failure {
///     println!("the last one failed: {}", failure.reason);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The current state.
    pub state: State,
    /// When that state was entered.
    pub since: Time,
    /// Number of attempts since the start.
    pub attempts: u64,
    /// Number of attempts and connections that have failed since one was stable.
    pub failures: u32,
    /// What the network watch reported last; none before its first report, and after a `Down` that a response of
    /// the cloud refuted.
    pub network: Option<Network>,
    /// When the token expires, in seconds since 1970-01-01 UTC; none without a token.
    pub token_expires_at: Option<u64>,
    /// Whether the cloud has refused that token as expired, and not accepted it since: it is kept and tried
    /// again, but a login or an operator is needed.
    pub token_is_late: bool,
    /// Whether the current token is stored.
    pub stored: Stored,
    /// Why the store could not be read or written the last time; none if it could.
    pub store_error: Option<String>,
    /// The last failure of an attempt or a connection, if any.
    pub last_failure: Option<Failure>,
    /// The last refusal by the cloud, if any; also one that ended a connection.
    pub last_refusal: Option<(Time, Refusal)>,
    /// When a connection was last established, if ever. It may have ended already.
    pub last_connected: Option<Time>,
    /// Round-trip time of the last ping that was answered, on this connection or an earlier one.
    pub round_trip: Option<Duration>,
    /// The messages that are kept until the cloud has acknowledged them.
    pub queue: QueueStatus,
    /// Those of them that are on disk, or on their way there.
    pub disk_queue: DiskQueueStatus,
    /// The kept messages from the cloud that the application has not acknowledged.
    pub inbox: InboxStatus,
}

/// The failure of an attempt or a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// When it failed.
    pub at: Time,
    /// Why.
    pub reason: FailureReason,
}

/// What failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailureReason {
    /// An attempt to connect.
    #[error(transparent)]
    Attempt(FailReason),
    /// A connection.
    #[error(transparent)]
    Connection(LostReason),
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
            token_is_late: core.token_is_late(),
            stored: core.stored(),
            store_error: None,
            last_failure: None,
            last_refusal: None,
            last_connected: None,
            round_trip: core.round_trip(),
            queue: core.queue(),
            disk_queue: core.disk_queue().unwrap_or_default(),
            inbox: core.inbox(),
        }
    }

    /// Takes the current state from the core; keeps the record of what went wrong.
    pub(crate) fn update(&mut self, core: &Connection, now: Time) {
        let now = Self::of(core, now);
        let same = std::mem::discriminant(&now.state) == std::mem::discriminant(&self.state);
        *self = Self {
            since: if same { self.since } else { now.since },
            store_error: self.store_error.take(),
            last_failure: self.last_failure.take(),
            last_refusal: self.last_refusal.take(),
            last_connected: self.last_connected.take(),
            ..now
        };
    }

    pub(crate) fn on_event(&mut self, now: Time, event: &Event) {
        let reason = match event {
            Event::ConnectionFailed { reason: FailReason::GivenUp }
            | Event::ConnectionLost { reason: LostReason::Local } => return,
            Event::ConnectionFailed { reason } => {
                if let FailReason::Refused(refusal) = reason {
                    self.last_refusal = Some((now, *refusal));
                }
                FailureReason::Attempt(reason.clone())
            }
            Event::ConnectionLost { reason } => {
                if let LostReason::Closed(close) = reason {
                    let refusal = match close.code {
                        CloseCode::Revoked => Some(Refusal::TokenRevoked),
                        CloseCode::Blocked => Some(Refusal::Blocked),
                        _ => None,
                    };
                    self.last_refusal = refusal.map(|refusal| (now, refusal)).or(self.last_refusal);
                }
                FailureReason::Connection(reason.clone())
            }
            Event::Connected => {
                self.last_connected = Some(now);
                return;
            }
            _ => return,
        };
        self.last_failure = Some(Failure { at: now, reason });
    }

    /// When the current connection was established; none unless connected.
    pub fn connected_since(&self) -> Option<Time> {
        (self.state == State::Connected).then_some(self.since)
    }

    /// Whether a login would help: there is no token, or a late one.
    pub fn needs_login(&self) -> bool {
        self.state == State::Unregistered || self.token_is_late
    }

    /// What a login waits for in the cloud, if the last attempt was put off for such a reason: an operator, or another
    /// connection.
    pub fn waits_for(&self) -> Option<Refusal> {
        let (at, refusal) = self.last_refusal.filter(|(_, refusal)| refusal.waits())?;
        let is_last = self.last_failure.as_ref().is_some_and(|failure| failure.at == at);
        let waits = matches!(
            self.state,
            State::Waiting { .. } | State::Offline { .. } | State::Dialing { .. }
        );
        (is_last && waits).then_some(refusal)
    }

    /// The state's name in status queries, on D-Bus and in JSON.
    pub fn state_name(&self) -> &'static str {
        self.state.name()
    }

    /// The network state's name in the same places.
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
    use fedecks_protocol::{CloseReason, DeviceId, IssuedToken, Token};

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
    fn an_update_keeps_the_start_of_a_state_and_past_failures() {
        let mut core = waiting();
        let mut status = Status::of(&core, at(1));
        assert_eq!((status.since, status.token_expires_at), (at(1), Some(5)));
        let reason = FailReason::Refused(Refusal::Blocked);
        status.on_event(at(2), &Event::ConnectionFailed { reason });
        status.store_error = Some("read-only".into());
        status.update(&core, at(3));
        assert_eq!(status.since, at(1));
        core.handle_reconnect(at(4)).unwrap();
        status.update(&core, at(4));
        assert_eq!((status.since, status.attempts), (at(4), 1));
        assert_eq!(status.last_refusal, Some((at(2), Refusal::Blocked)));
        let reason = FailureReason::Attempt(FailReason::Refused(Refusal::Blocked));
        assert_eq!(reason.to_string(), "the cloud refused: the device is blocked");
        assert_eq!(status.last_failure, Some(Failure { at: at(2), reason }));
        assert_eq!(status.store_error.as_deref(), Some("read-only"));
        assert_eq!(status.connected_since(), None);
    }

    #[test]
    fn a_login_waits_until_something_else_happens() {
        let mut status = Status::of(&waiting(), at(1));
        assert_eq!(status.waits_for(), None);
        let refused = |refusal| Event::ConnectionFailed { reason: FailReason::Refused(refusal) };
        status.on_event(at(2), &refused(Refusal::ApprovalPending));
        assert_eq!(status.waits_for(), Some(Refusal::ApprovalPending));
        status.on_event(at(3), &refused(Refusal::RateLimited));
        assert_eq!(status.waits_for(), None);
        status.on_event(at(4), &refused(Refusal::InUse));
        assert_eq!(status.waits_for(), Some(Refusal::InUse));
        status.on_event(at(5), &Event::ConnectionFailed { reason: FailReason::NoWelcome });
        assert_eq!(status.waits_for(), None);
    }

    #[test]
    fn a_connection_that_the_device_ends_itself_has_not_failed() {
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
        let close = CloseReason { code: CloseCode::Blocked, retry_after: None };
        let reason = LostReason::Closed(close);
        assert_eq!(reason.to_string(), "closed by the cloud: the device is blocked (code 4403)");
        status.on_event(at(3), &Event::ConnectionLost { reason });
        assert_eq!(status.last_refusal, Some((at(3), Refusal::Blocked)));
        status.on_event(at(4), &Event::ConnectionLost { reason: LostReason::NoPong });
        assert_eq!(status.last_refusal, Some((at(3), Refusal::Blocked)));
    }
}
