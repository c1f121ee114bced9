//! The frames that are exchanged on an established connection.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::term::Term;
use crate::token::Token;

/// Sequence number of a message in one direction of one device, for acknowledged delivery. Starts at
/// 1; on the wire 0 means "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub NonZeroU64);

/// Identifies a request; the reply repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A frame from the device to the cloud.
#[derive(Debug, Clone, PartialEq)]
pub enum UpFrame {
    /// A term for the cloud's handler.
    Message {
        /// Present if delivery is acknowledged.
        sequence: Option<Sequence>,
        /// The content.
        term: Term,
    },
    /// Bytes for the cloud's handler, passed on unchanged.
    Raw {
        /// Present if delivery is acknowledged.
        sequence: Option<Sequence>,
        /// The content.
        bytes: Vec<u8>,
    },
    /// Requests a token.
    TokenPlease,
    /// The device has received everything up to this sequence number.
    Ack(Sequence),
    /// The reply to a [`DownFrame::Request`].
    Reply {
        /// The request that this answers.
        request: RequestId,
        /// The content.
        term: Term,
    },
    /// A received frame of a kind that this version does not know; cannot be sent.
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
        /// Present if delivery is acknowledged.
        sequence: Option<Sequence>,
        /// The content.
        term: Term,
    },
    /// Bytes for the application on the device, passed on unchanged.
    Raw {
        /// Present if delivery is acknowledged.
        sequence: Option<Sequence>,
        /// The content.
        bytes: Vec<u8>,
    },
    /// A token for later connections.
    Token(IssuedToken),
    /// The cloud has received everything up to this sequence number.
    Ack(Sequence),
    /// A request that the device answers with [`UpFrame::Reply`].
    Request {
        /// Repeated in the reply.
        request: RequestId,
        /// The content.
        term: Term,
    },
    /// A received frame of a kind that this version does not know; cannot be sent.
    Unknown {
        /// The frame's first byte.
        kind: u8,
    },
}

/// What the cloud sends to a device as soon as it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The cloud's clock, in milliseconds since 1970-01-01 UTC.
    pub server_time_ms: u64,
    /// The device pings after this long without traffic in either direction; whole seconds.
    pub heartbeat: Duration,
    /// The cloud drops a device after this long without traffic from it; whole seconds.
    pub idle_timeout: Duration,
    /// The largest frame that the cloud accepts, in bytes.
    pub max_frame: u32,
}

/// A token as issued by the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The sealed token.
    pub token: Token,
    /// When the cloud stops accepting it, in seconds since 1970-01-01 UTC.
    pub expires_at: u64,
}
