//! Events for the application, and why attempts and links end.

use std::fmt;
use std::time::Duration;

use fedecks_protocol::{CloseReason, Refusal, Term};

use crate::attempt::{Attempt, Phase};

/// An event for the application. `Debug` shows only the kind or size of a message.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// There is no token: the device does not connect until it is logged in.
    Unregistered,
    /// The cloud refuses the token as expired. Follows the first such `ConnectionFailed`. The cloud's clock
    /// may be wrong, so the token is kept and tried again at the longest wait until the cloud accepts it,
    /// or until a login or a logout.
    TokenLate,
    /// The next attempt starts after this delay.
    ConnectionScheduled {
        /// From now.
        delay: Duration,
    },
    /// An attempt starts.
    Connecting {
        /// Its number, counted from 1.
        attempt: Attempt,
    },
    /// The Welcome has arrived: messages can be exchanged.
    Connected,
    /// An attempt failed.
    ConnectionFailed {
        /// Why.
        reason: FailReason,
    },
    /// The connection ended.
    ConnectionLost {
        /// Why.
        reason: LostReason,
    },
    /// The connection was replaced by another one with this device's id. Follows `ConnectionLost`.
    Replaced,
    /// A term from the cloud.
    Message(Term),
    /// Bytes from the cloud.
    RawMessage(Vec<u8>),
    /// The token could not be loaded or saved; that is retried. The token in memory remains in use.
    StoreFailed {
        /// The error of the store.
        error: String,
    },
    /// Events were not read in time and are lost to this reader. Reported by the queue that they waited in.
    Missed {
        /// How many.
        count: u64,
    },
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unregistered => f.write_str("Unregistered"),
            Self::TokenLate => f.write_str("TokenLate"),
            Self::ConnectionScheduled { delay } => write!(f, "ConnectionScheduled({delay:?})"),
            Self::Connecting { attempt } => write!(f, "Connecting({attempt})"),
            Self::Connected => f.write_str("Connected"),
            Self::ConnectionFailed { reason } => write!(f, "ConnectionFailed({reason:?})"),
            Self::ConnectionLost { reason } => write!(f, "ConnectionLost({reason:?})"),
            Self::Replaced => f.write_str("Replaced"),
            Self::Message(term) => write!(f, "Message({})", term.kind()),
            Self::RawMessage(bytes) => write!(f, "RawMessage({} bytes)", bytes.len()),
            Self::StoreFailed { error } => write!(f, "StoreFailed({error:?})"),
            Self::Missed { count } => write!(f, "Missed({count})"),
        }
    }
}

impl fmt::Display for Event {
    /// For people. Shows only the kind or size of a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unregistered => f.write_str("not registered, a login is needed"),
            Self::TokenLate => f.write_str("the cloud refuses the token as expired"),
            Self::ConnectionScheduled { delay } => {
                write!(f, "connecting in {:.1} s", delay.as_secs_f64())
            }
            Self::Connecting { attempt } => write!(f, "connecting, attempt {attempt}"),
            Self::Connected => f.write_str("connected"),
            Self::ConnectionFailed { reason } => write!(f, "could not connect: {reason}"),
            Self::ConnectionLost { reason } => write!(f, "connection lost: {reason}"),
            Self::Replaced => f.write_str("replaced by another connection of this device"),
            Self::Message(term) => write!(f, "received a message ({})", term.kind()),
            Self::RawMessage(bytes) => write!(f, "received {} bytes", bytes.len()),
            Self::StoreFailed { error } => write!(f, "the token store failed: {error}"),
            Self::Missed { count: 1 } => f.write_str("1 event was missed"),
            Self::Missed { count } => write!(f, "{count} events were missed"),
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailReason {
    /// A phase exceeded its deadline.
    #[error("{0} timed out")]
    Timeout(Phase),
    /// The cloud itself refused.
    #[error("the cloud refused: {0}")]
    Refused(Refusal),
    /// The cloud could not be reached, or something else responded.
    #[error("the cloud cannot be reached: {error}")]
    Unreachable {
        /// The phase that failed. What answers the upgrade in another form than the cloud is a proxy, a captive
        /// portal or another server.
        phase: Phase,
        /// Why, for people.
        error: String,
    },
    /// The link ended before the Welcome.
    #[error("the connection ended before the Welcome frame: {0}")]
    Lost(LostReason),
    /// The cloud's first frame was not a Welcome.
    #[error("the cloud's first frame was not a Welcome")]
    NoWelcome,
    /// The attempt was cancelled by a login, a logout, a reconnect or the shutdown.
    #[error("cancelled by this device")]
    GivenUp,
}

impl FailReason {
    /// Whether the cloud itself rejected the device, as opposed to being unreachable or busy.
    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Refused(refusal) if Verdict::of(*refusal) != Verdict::TryLater)
    }
}

/// What a refusal means for the credentials or the token that the device presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: the cloud is busy.
    TryLater,
    /// They are not accepted.
    Rejected,
    /// The token has expired by the cloud's clock, which may be wrong.
    TokenLate,
    /// The token was revoked and will never be accepted again.
    TokenVoid,
}

impl Verdict {
    pub(crate) fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::RateLimited
            | Refusal::InUse
            | Refusal::ApprovalPending
            | Refusal::Unavailable => Self::TryLater,
            Refusal::TokenExpired => Self::TokenLate,
            Refusal::TokenRevoked => Self::TokenVoid,
            Refusal::MissingHeader
            | Refusal::NotBase64
            | Refusal::Malformed
            | Refusal::NoDeviceId
            | Refusal::UnsupportedDialect
            | Refusal::HeaderTooLong
            | Refusal::BadCredentials
            | Refusal::TokenInvalid
            | Refusal::WrongDevice
            | Refusal::ClaimExpired
            | Refusal::ClaimUsedUp
            | Refusal::ClaimRevoked
            | Refusal::ClaimMismatch
            | Refusal::Blocked
            | Refusal::CertificateRefused
            | Refusal::IdTaken => Self::Rejected,
        }
    }
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LostReason {
    /// The cloud closed it.
    #[error("closed by the cloud: {}", .0.code)]
    Closed(CloseReason),
    /// It broke: a network error, or an end without a close frame.
    #[error("{0}")]
    Broken(String),
    /// A ping was not answered in time.
    #[error("the ping timed out")]
    NoPong,
    /// The device was suspended for longer than the cloud's idle timeout.
    #[error("the device was suspended for longer than the cloud's idle timeout")]
    Suspended,
    /// A login, a logout, a reconnect or the shutdown ended it.
    #[error("closed by this device")]
    Local,
}
