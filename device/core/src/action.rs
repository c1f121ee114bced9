//! What the core wants done.

use std::fmt;

use fedecks_protocol::{AuthError, AuthRequest, CloseCode, IssuedToken, Proof};

use crate::attempt::Attempt;
use crate::config::Config;
use crate::event::Event;
use crate::request::{LoggedIn, LoginError, LoginId, LogoutId, SendError, SendId};

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
        /// Who waits to hear whether the link took it: bring that to `handle_transmitted`.
        send: Option<SendId>,
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
    /// Tell whoever asked for this logout how it ended: with nothing of the token on disk any more,
    /// or with why there may be something; that is tried again.
    AnswerLogout {
        /// Which logout.
        logout: LogoutId,
        /// How it ended.
        result: Result<(), String>,
    },
    /// Tell whoever wanted this sent whether the link took it.
    AnswerSend {
        /// Which message.
        send: SendId,
        /// How it ended.
        result: Result<(), SendError>,
    },
    /// Tell the application.
    Emit(Event),
    /// Write a log line.
    Log(Notice),
}

/// The value of `x-fedecks-auth`. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthHeader(String);

impl AuthHeader {
    /// The header for this proof of identity.
    pub(crate) fn new(config: &Config, proof: Proof) -> Result<Self, AuthError> {
        let request = AuthRequest { device_id: config.device_id.clone(), proof };
        request.to_header(config.dialect).map(Self)
    }

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

/// For the log only.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The cloud sent a kind of frame that this version does not know; it is ignored.
    UnknownFrame {
        /// The frame's first byte.
        kind: u8,
    },
    /// The cloud sent a frame that has no use here; it is ignored.
    UnusedFrame(UnusedFrame),
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

/// A kind of frame that has no use where it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusedFrame {
    /// A Welcome on a link that has had one.
    Welcome,
    /// An acknowledgement: nothing is sent with a number.
    Ack,
    /// A request: nobody here answers any.
    Request,
}

impl fmt::Display for UnusedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Welcome => "welcome",
            Self::Ack => "ack",
            Self::Request => "request",
        })
    }
}
