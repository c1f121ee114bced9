//! The frames that travel once a connection is up.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::term::Term;
use crate::token::Token;

/// Number of a message within one direction of one device, for delivery with acknowledgement.
/// Counted from 1; on the wire 0 stands for "no number".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub NonZeroU64);

/// Name of a question that one end asked, repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A frame from the device to the cloud.
#[derive(Debug, Clone, PartialEq)]
pub enum UpFrame {
    /// A term for the cloud's handler.
    Message {
        /// Its number, where delivery is acknowledged.
        sequence: Option<Sequence>,
        /// The value.
        term: Term,
    },
    /// Bytes for the cloud's handler, passed on as they are.
    Raw {
        /// Its number, where delivery is acknowledged.
        sequence: Option<Sequence>,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The device asks for a token.
    TokenPlease,
    /// The device has everything up to this number.
    Ack(Sequence),
    /// The device's answer to a [`DownFrame::Request`].
    Reply {
        /// Which request.
        request: RequestId,
        /// The answer.
        term: Term,
    },
    /// A kind of frame that this version does not know. It is never sent.
    Unknown {
        /// The frame's first byte.
        kind: u8,
    },
}

/// A frame from the cloud to the device.
#[derive(Debug, Clone, PartialEq)]
pub enum DownFrame {
    /// The first frame of every connection.
    Welcome(Welcome),
    /// A term for the application on the device.
    Message {
        /// Its number, where delivery is acknowledged.
        sequence: Option<Sequence>,
        /// The value.
        term: Term,
    },
    /// Bytes for the application on the device, passed on as they are.
    Raw {
        /// Its number, where delivery is acknowledged.
        sequence: Option<Sequence>,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A token to keep for the next connection.
    Token(IssuedToken),
    /// The cloud has everything up to this number.
    Ack(Sequence),
    /// A question that the device answers by [`UpFrame::Reply`].
    Request {
        /// Name of the question.
        request: RequestId,
        /// The question.
        term: Term,
    },
    /// A kind of frame that this version does not know. It is never sent.
    Unknown {
        /// The frame's first byte.
        kind: u8,
    },
}

/// What the cloud tells a device as soon as it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The cloud's clock, in milliseconds since 1970-01-01 UTC.
    pub server_time_ms: u64,
    /// After how much silence in either direction the device pings; whole seconds.
    pub heartbeat: Duration,
    /// After how much silence from the device the cloud drops it; whole seconds.
    pub idle_timeout: Duration,
    /// The biggest frame that the cloud accepts, in bytes.
    pub max_frame: u32,
}

/// A token as the cloud hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The sealed token.
    pub token: Token,
    /// When the cloud stops accepting it, in seconds since 1970-01-01 UTC.
    pub expires_at: u64,
}
