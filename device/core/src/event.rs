//! What the application is told without having asked, and why attempts and links end.

use std::fmt;
use std::time::Duration;

use fedecks_protocol::{CloseReason, Refusal, Term};

use crate::attempt::{Attempt, Phase};

/// What the application is told. Its `Debug` shows nothing of a message but its kind or size.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// There is no token: the device stays away from the cloud until somebody logs it in.
    Unregistered,
    /// The next attempt comes after this delay.
    ConnectionScheduled {
        /// From now.
        delay: Duration,
    },
    /// An attempt begins.
    Connecting {
        /// Its number, counted from 1.
        attempt: Attempt,
    },
    /// The cloud said Welcome: messages travel.
    Connected,
    /// The attempt failed.
    ConnectionFailed {
        /// Why.
        reason: FailReason,
    },
    /// The connection is gone.
    ConnectionLost {
        /// Why.
        reason: LostReason,
    },
    /// Another connection with this device's id took its place. Follows `ConnectionLost`.
    Replaced,
    /// A term from the cloud.
    Message(Term),
    /// Bytes from the cloud.
    RawMessage(Vec<u8>),
    /// The store could not be read or written; it is tried again. The session goes on from memory.
    StoreFailed {
        /// What the store said.
        error: String,
    },
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unregistered => f.write_str("Unregistered"),
            Self::ConnectionScheduled { delay } => write!(f, "ConnectionScheduled({delay:?})"),
            Self::Connecting { attempt } => write!(f, "Connecting({attempt})"),
            Self::Connected => f.write_str("Connected"),
            Self::ConnectionFailed { reason } => write!(f, "ConnectionFailed({reason:?})"),
            Self::ConnectionLost { reason } => write!(f, "ConnectionLost({reason:?})"),
            Self::Replaced => f.write_str("Replaced"),
            Self::Message(term) => write!(f, "Message({})", term.kind()),
            Self::RawMessage(bytes) => write!(f, "RawMessage({} bytes)", bytes.len()),
            Self::StoreFailed { error } => write!(f, "StoreFailed({error:?})"),
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FailReason {
    /// A phase took longer than its deadline.
    #[error("{0} took too long")]
    Timeout(Phase),
    /// The cloud itself said no.
    #[error("the cloud refused: {0}")]
    Refused(Refusal),
    /// The cloud could not be reached, or something else answered in its place.
    #[error("the cloud cannot be reached: {0}")]
    Unreachable(String),
    /// The link ended before the Welcome.
    #[error("the connection ended before the welcome: {0}")]
    Lost(LostReason),
    /// The cloud's first frame was no Welcome.
    #[error("the cloud's first frame was no welcome")]
    NoWelcome,
    /// The attempt was given up for a login, a logout, a reconnect or the end of the program.
    #[error("given up")]
    GivenUp,
}

impl FailReason {
    /// Whether the cloud itself decided this; everything else is a matter of reaching it.
    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Refused(refusal) if Verdict::of(*refusal) != Verdict::TryLater)
    }
}

/// What a refusal says about what the device presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: the cloud has no time for it now.
    TryLater,
    /// It is not accepted.
    Rejected,
    /// It is a token that will never be good again.
    TokenIsDead,
}

impl Verdict {
    pub(crate) fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::RateLimited | Refusal::Unavailable => Self::TryLater,
            Refusal::TokenExpired | Refusal::TokenRevoked => Self::TokenIsDead,
            Refusal::MissingHeader
            | Refusal::NotBase64
            | Refusal::Malformed
            | Refusal::NoDeviceId
            | Refusal::UnsupportedDialect
            | Refusal::HeaderTooLong
            | Refusal::BadCredentials
            | Refusal::TokenInvalid
            | Refusal::WrongDevice
            | Refusal::Blocked => Self::Rejected,
        }
    }
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LostReason {
    /// The cloud closed it.
    #[error("closed by the cloud with code {}", .0.code.code())]
    Closed(CloseReason),
    /// It broke: an error of the network, or an end without a close.
    #[error("{0}")]
    Broken(String),
    /// Nothing came back after a ping.
    #[error("nothing came back after a ping")]
    NoPong,
    /// The device slept for longer than the cloud waits.
    #[error("the device slept for longer than the cloud waits")]
    Slept,
    /// The application asked for a login, a logout, a reconnect or the end.
    #[error("ended by this device")]
    Local,
}
