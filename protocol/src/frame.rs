//! The frames that are exchanged on an established connection.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::delivery::{Capabilities, DeliveryFrame, InstallationId};
use crate::request::RequestFrame;
use crate::term::Term;
use crate::token::Token;

/// The number of a message that is sent at most once, which is reserved: ends send 0, which means "none", and accept
/// and ignore any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub NonZeroU64);

/// A frame from the device to the cloud.
#[derive(Debug, Clone, PartialEq)]
pub enum UpFrame {
    /// A term for the cloud's handler.
    Message {
        /// Reserved: `None` is sent, any is accepted and ignored.
        sequence: Option<Sequence>,
        /// The content.
        term: Term,
    },
    /// Bytes for the cloud's handler, passed on unchanged.
    Raw {
        /// Reserved: `None` is sent, any is accepted and ignored.
        sequence: Option<Sequence>,
        /// The content.
        bytes: Vec<u8>,
    },
    /// Requests a token.
    TokenPlease,
    /// What the device can do; sent after a Welcome that has capabilities.
    Hello(Capabilities),
    /// About kept messages.
    Delivery(DeliveryFrame),
    /// Asks the session for a [`DownFrame::Alive`] with this number.
    KeepAlive(u64),
    /// About requests.
    Request(RequestFrame),
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
        /// Reserved: `None` is sent, any is accepted and ignored.
        sequence: Option<Sequence>,
        /// The content.
        term: Term,
    },
    /// Bytes for the application on the device, passed on unchanged.
    Raw {
        /// Reserved: `None` is sent, any is accepted and ignored.
        sequence: Option<Sequence>,
        /// The content.
        bytes: Vec<u8>,
    },
    /// A token for later connections.
    Token(IssuedToken),
    /// About kept messages.
    Delivery(DeliveryFrame),
    /// The session is alive, and has read everything before the [`UpFrame::KeepAlive`] with this number; 0 if
    /// it was not asked.
    Alive(u64),
    /// About requests.
    Request(RequestFrame),
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
    /// What the cloud can do besides. `None` from one that can do nothing.
    pub delivery: Option<DeliveryOffer>,
}

/// What a cloud offers in its Welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryOffer {
    /// What it can do.
    pub capabilities: Capabilities,
    /// The installation that the device talks to: kept messages wait for this one, and no other gets them.
    pub installation: InstallationId,
}

/// A token as issued by the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The sealed token.
    pub token: Token,
    /// When the cloud stops accepting it, in seconds since 1970-01-01 UTC.
    pub expires_at: u64,
}
