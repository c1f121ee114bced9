//! Requests on the wire: questions of either end with at most one answer each, on one connection.

use std::fmt;

use crate::encoded_term::EncodedTerm;

/// Identifies a request of one end on one connection; chosen by that end, and repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A frame about requests. Both ends send all of them.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestFrame {
    /// Asks the other end.
    Request {
        /// Not used before on this connection by the end that asks.
        request: RequestId,
        /// How long the asker waits for the answer, in milliseconds.
        timeout_ms: u64,
        /// The question. It stays encoded while it waits.
        content: EncodedTerm,
    },
    /// The answer to a request.
    Reply {
        /// The request.
        request: RequestId,
        /// The answer. It stays encoded while it waits.
        content: EncodedTerm,
    },
    /// There is no answer to a request, and will be none.
    NoReply {
        /// The request.
        request: RequestId,
        /// Why.
        reason: NoReplyReason,
        /// More about it, for people; at most [`RequestFrame::MAX_TEXT`] bytes.
        text: String,
    },
    /// The asker does not wait for the answer any longer.
    Cancel {
        /// The request.
        request: RequestId,
    },
}

/// Why there is no answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoReplyReason {
    /// No one answers requests there.
    Unhandled,
    /// Too many requests are in progress.
    Busy,
    /// The application has failed, or refused.
    Failed,
    /// The content of the request cannot be decoded there.
    Undecodable,
    /// A reason that this version does not know.
    Other(u64),
}

/// A frame about requests whose content cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndecodableContent {
    /// Of a request, which is answered with [`NoReplyReason::Undecodable`].
    Request(RequestId),
    /// Of a reply, which is all the answer that there is.
    Reply(RequestId),
}

impl RequestFrame {
    /// The longest text of a [`RequestFrame::NoReply`], in bytes.
    pub const MAX_TEXT: usize = 1_024;

    /// A [`RequestFrame::NoReply`], with no more of the text than may be sent.
    pub fn no_reply(request: RequestId, reason: NoReplyReason, text: &str) -> Self {
        Self::NoReply { request, reason, text: cut(text).to_owned() }
    }
}

/// As much of the text as may be sent.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(RequestFrame::MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

impl NoReplyReason {
    /// Its number on the wire.
    pub fn number(self) -> u64 {
        match self {
            Self::Unhandled => 1,
            Self::Busy => 2,
            Self::Failed => 3,
            Self::Undecodable => 4,
            Self::Other(number) => number,
        }
    }

    /// The reason with this number on the wire.
    pub fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Unhandled,
            2 => Self::Busy,
            3 => Self::Failed,
            4 => Self::Undecodable,
            number => Self::Other(number),
        }
    }

    /// Its name for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unhandled => "unhandled",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Undecodable => "undecodable",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for NoReplyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
