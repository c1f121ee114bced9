use std::fmt;
use std::time::Duration;

use fedecks_protocol::{AuthError, CloseCode, CloseReason, IssuedToken, Refusal, Term};

use crate::connection::{Attempt, LoggedIn, LoginId};

/// What the driver is to do, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask the store for a token and bring the answer to `handle_loaded`.
    LoadToken,
    /// Start an attempt: resolve, connect, upgrade with this header. Bring each phase to
    /// `handle_phase` and the outcome to `handle_dialed`. No other link exists at this moment.
    Dial {
        /// Its number.
        attempt: Attempt,
        /// Value of the header `x-fedecks-auth`.
        header: AuthHeader,
    },
    /// Send on the link of this attempt.
    Transmit {
        /// Which link.
        attempt: Attempt,
        /// What.
        message: Outgoing,
    },
    /// End the attempt or its link: send the close code if there is a WebSocket, then let go of it.
    Disconnect {
        /// Which attempt.
        attempt: Attempt,
        /// What to tell the cloud.
        code: CloseCode,
    },
    /// Put this token into the store and bring the outcome to `handle_stored`.
    StoreToken(IssuedToken),
    /// Remove the token from the store and bring the outcome to `handle_stored`.
    ForgetToken,
    /// The cloud's clock as it came over the link that is up now.
    TrustTime {
        /// Milliseconds since 1970-01-01 UTC.
        server_time_ms: u64,
    },
    /// Tell whoever asked for this login how it ended.
    AnswerLogin {
        /// Which login.
        login: LoginId,
        /// How it ended.
        result: Result<LoggedIn, LoginError>,
    },
    /// Tell the application.
    Emit(Event),
    /// Write a log line.
    Log(Notice),
}

/// The value of `x-fedecks-auth`. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthHeader(pub(crate) String);

impl AuthHeader {
    /// The secret itself, for the request and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AuthHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthHeader(…)")
    }
}

/// What goes out on a link.
#[derive(Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A binary message: a frame in the dialect's bytes.
    Frame(Vec<u8>),
    /// A ping with the device id as its payload, as the original Fedecks sends it.
    Ping,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(bytes) => write!(f, "Frame({} bytes)", bytes.len()),
            Self::Ping => f.write_str("Ping"),
        }
    }
}

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

/// Part of an attempt; each has a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The name becomes addresses.
    Resolve,
    /// The TCP connection is made.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// The upgrade request waits for its answer.
    Upgrade,
    /// The WebSocket is there, the Welcome frame is not.
    Welcome,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Tcp => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Upgrade => "the upgrade",
            Self::Welcome => "the welcome",
        })
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
        match self {
            Self::Refused(refusal) => match refusal {
                Refusal::RateLimited | Refusal::Unavailable => false,
                Refusal::MissingHeader
                | Refusal::NotBase64
                | Refusal::Malformed
                | Refusal::NoDeviceId
                | Refusal::UnsupportedDialect
                | Refusal::HeaderTooLong
                | Refusal::BadCredentials
                | Refusal::TokenInvalid
                | Refusal::TokenExpired
                | Refusal::TokenRevoked
                | Refusal::WrongDevice
                | Refusal::Blocked => true,
            },
            Self::Timeout(_)
            | Self::Unreachable(_)
            | Self::Lost(_)
            | Self::NoWelcome
            | Self::GivenUp => false,
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

/// How a login failed. The token that was there before, if any, stays.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// The cloud said no to the credentials.
    #[error("the cloud refused the login: {0}")]
    Rejected(Refusal),
    /// The credentials cannot be sent.
    #[error(transparent)]
    Invalid(#[from] AuthError),
    /// A newer login, a logout or the end of the program came first.
    #[error("given up for {0}")]
    GivenUp(&'static str),
}

/// For the log only.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The cloud sent a kind of frame that this version does not know; it is ignored.
    UnknownFrame {
        /// The frame's first byte.
        kind: u8,
    },
    /// The cloud sent a frame that has no use here; it is ignored.
    UnusedFrame {
        /// Its name.
        name: &'static str,
    },
    /// The cloud sent bytes that are no frame; they are ignored.
    BadFrame {
        /// How many bytes.
        size: usize,
        /// What is wrong with them.
        error: fedecks_protocol::DecodeError,
    },
    /// The cloud sent a text message; only binary ones have a meaning.
    TextMessage {
        /// How many bytes.
        size: usize,
    },
}
