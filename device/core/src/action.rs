//! The core's outputs: what the driver has to do.

use std::fmt;
use std::time::Duration;

use fedecks_delivery::Settled;
use fedecks_protocol::{
    AuthError, AuthRequest, CloseCode, EncodedTerm, IssuedToken, Proof, SkipReason, Tag,
};

use crate::attempt::Attempt;
use crate::config::Config;
use crate::delivery::{KeptDelivery, Positions};
use crate::event::Event;
use crate::kept::{KeepError, KeepId};
use crate::question::{AskId, QuestionId, RequestError};
use crate::queue_job::QueueJob;
use crate::request::{LoggedIn, LoginError, LoginId, LogoutId, SendError, SendId};

/// An instruction to the driver. Actions are executed in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Load the token and report the result to `handle_loaded`.
    LoadToken,
    /// Start an attempt: resolve, connect, upgrade with this header. Report each phase to
    /// `handle_phase` and the outcome to `handle_dialed`. There is no other link at this time.
    Dial {
        /// The number of the attempt.
        attempt: Attempt,
        /// Value of the header `x-fedecks-auth`.
        header: AuthHeader,
    },
    /// Send on a link.
    Transmit {
        /// The attempt that the link belongs to.
        attempt: Attempt,
        /// What to send.
        message: Outgoing,
        /// If set, report to `handle_transmitted` whether the link accepted it.
        send: Option<SendId>,
    },
    /// End an attempt or its link: send the close code if there is a WebSocket, then drop it.
    Disconnect {
        /// The attempt.
        attempt: Attempt,
        /// The close code for the cloud.
        code: CloseCode,
    },
    /// Save this token and report the result to `handle_stored`.
    StoreToken(IssuedToken),
    /// Delete the token and report the result to `handle_stored`.
    ForgetToken,
    /// Load the registration nonce, or make one and save it, and report it to `handle_nonce`. It is on disk before the
    /// cloud learns it, unless the disk fails.
    LoadNonce {
        /// The login that needs it.
        login: LoginId,
    },
    /// Delete the nonce, before the next action. Failures are reported by the next result of `ForgetToken`.
    ForgetNonce,
    /// The cloud's time, received over the link that is up now.
    TrustTime {
        /// Milliseconds since 1970-01-01 UTC.
        server_time_ms: u64,
    },
    /// A login has ended.
    AnswerLogin {
        /// The login.
        login: LoginId,
        /// Its result.
        result: Result<LoggedIn, LoginError>,
    },
    /// A logout has ended, and all before it. `Ok` if no token is left on disk; otherwise the error of the
    /// store, which will be retried.
    AnswerLogout {
        /// The newest of them.
        logout: LogoutId,
        /// Its result.
        result: Result<(), String>,
    },
    /// The link has accepted a message, or it could not be sent.
    AnswerSend {
        /// The message.
        send: SendId,
        /// Its result.
        result: Result<(), SendError>,
    },
    /// A message is kept, under this id, or is not.
    AnswerKeep {
        /// The request.
        id: KeepId,
        /// The id of the message.
        result: Result<Tag, KeepError>,
    },
    /// Do this with the queue on disk and report the result to `handle_queue`.
    Queue(QueueJob),
    /// A kept message is settled, and is not kept any longer.
    Settle {
        /// The message.
        tag: Tag,
        /// The outcome.
        settled: Settled,
    },
    /// Pass a kept message of the cloud to the application, and what it did with it to `handle_acknowledge`. It is not
    /// passed again before that.
    DeliverKept(KeptDelivery),
    /// Store the positions in the streams from the cloud, before anything that follows is sent. A failure has no other
    /// effect than that messages may come again after a restart.
    StorePositions(Positions),
    /// A request to the cloud is over. The answer waits encoded.
    AnswerRequest {
        /// The request.
        id: AskId,
        /// The answer.
        result: Result<EncodedTerm, RequestError>,
    },
    /// The cloud asks: pass this to the application, and its answer to `handle_reply`.
    DeliverRequest {
        /// The request.
        question: QuestionId,
        /// The question.
        content: EncodedTerm,
        /// How long the cloud waits.
        timeout: Duration,
    },
    /// No one waits for the answer to this request of the cloud any longer.
    CancelRequest {
        /// The request.
        question: QuestionId,
    },
    /// Pass an event to the application.
    Emit(Event),
    /// Pass a message to the application as [`Event::Message`]. It waits encoded, since its term may take
    /// much more memory.
    Deliver(EncodedTerm),
    /// Log something.
    Log(Notice),
}

/// The value of `x-fedecks-auth`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthHeader(String);

impl AuthHeader {
    /// Encodes the header for this proof.
    pub(crate) fn new(config: &Config, proof: Proof) -> Result<Self, AuthError> {
        let request = AuthRequest { device_id: config.device_id.clone(), proof };
        request.to_header(config.dialect).map(Self)
    }

    /// The secret itself, only for the request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AuthHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthHeader(…)")
    }
}

/// A message to send on a link.
#[derive(Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A binary message: an encoded frame.
    Frame(Vec<u8>),
    /// A ping with the device id as its payload, as in the original Fedecks.
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

/// Something to log. Nothing else depends on it.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Ignored a frame of a kind that this version does not know.
    UnknownFrame {
        /// The frame's first byte.
        kind: u8,
    },
    /// Ignored a frame that is not expected here.
    UnexpectedFrame(UnexpectedFrame),
    /// Ignored an undecodable frame.
    BadFrame {
        /// Its size, in bytes.
        size: usize,
        /// Why it cannot be decoded.
        error: fedecks_protocol::DecodeError,
    },
    /// The cloud is another installation than before: what waited for that one is dropped.
    OtherCloud {
        /// How many messages.
        dropped: u64,
    },
    /// What earlier starts left on disk.
    QueueFound {
        /// The messages that are sent again.
        messages: u64,
        /// How many pieces of the disk could not be used.
        damaged: u64,
        /// The messages that were dropped because they are another device's.
        foreign: u64,
    },
    /// The queue on disk cannot be used, or takes no more.
    QueueFailed {
        /// Why.
        error: String,
    },
    /// The cloud knows kept messages that this device does not: what waits was numbered again.
    Renumbered,
    /// The cloud no longer has kept messages that this device may have had before its positions were set back.
    Gap {
        /// How many numbers are missing.
        messages: u64,
    },
    /// The cloud has dropped kept messages before they were sent.
    Skipped {
        /// How many.
        messages: u64,
        /// Why.
        reason: SkipReason,
    },
    /// The cloud violated the protocol of kept messages.
    Violation(fedecks_delivery::Violation),
    /// Ignored a text message; the protocol has only binary ones.
    TextMessage {
        /// Its size, in bytes.
        size: usize,
    },
}

/// A valid frame that is not expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnexpectedFrame {
    /// A second Welcome.
    Welcome,
    /// About kept messages to the device, from a cloud that has not offered any.
    Kept,
    /// About requests, from a cloud that does not understand the answer.
    Request,
}

impl fmt::Display for UnexpectedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Welcome => "welcome",
            Self::Kept => "kept message",
            Self::Request => "request",
        })
    }
}
