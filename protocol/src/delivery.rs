//! Kept messages on the wire: streams, positions, and the frames with which both ends acknowledge and resume.

use std::fmt;

use crate::budget::Budget;
use crate::encoded_term::EncodedTerm;

/// Identifies a stream: kept messages of one direction and lane with consecutive numbers from 1. Random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub [u8; 16]);

/// Identifies a kept message of a device, however often it is numbered. Random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// Identifies a cloud: all nodes that share a store. Random.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstallationId(pub [u8; 16]);

/// What the ends can do beyond messages that are sent at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

/// The messages of a lane are delivered in order, those of different lanes in any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Lane {
    /// The lane of most messages.
    #[default]
    Normal,
    /// Goes first.
    Urgent,
}

/// Why numbers of a stream carry no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// The messages expired.
    Expired,
    /// They were dropped to make room for newer ones.
    QueueFull,
    /// A newer message replaced them.
    Replaced,
    /// Their sender cancelled them.
    Cancelled,
    /// The storage of their sender lost them.
    Damaged,
    /// The receiver was set back and has asked again for what the sender has no longer.
    ReceiverRestored,
    /// They were accepted for another installation.
    OtherCloud,
    /// They exceed what the receiver accepts.
    TooBig,
    /// A reason that this version does not know.
    Other(u64),
}

/// A frame that both ends send.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryFrame {
    /// The sender announces a stream.
    Resume(Resume),
    /// A kept message.
    Kept(Kept),
    /// Numbers without a message.
    Skip(Skip),
    /// The sender will not use the stream again; everything in it is acknowledged.
    Close {
        /// The stream.
        handle: u64,
    },
    /// The receiver's position, and how far the sender may go.
    Ack(Ack),
    /// The receiver asks to repeat what follows a number.
    Rewind {
        /// The stream.
        handle: u64,
        /// The last number that is not repeated.
        to: u64,
    },
}

/// Announces a stream on a connection; answered by an [`Ack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// How the other frames of this connection name the stream. Chosen by the sender, from 1.
    pub handle: u64,
    /// Its lane.
    pub lane: Lane,
    /// The stream.
    pub stream: StreamId,
    /// The first number that the sender still has; not 0, at most
    /// [`Limits::MAX_NUMBER`](crate::Limits::MAX_NUMBER).
    pub oldest: u64,
    /// The last number that the sender has, with the same limit; `oldest - 1` if none.
    pub newest: u64,
}

/// A kept message.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The stream.
    pub handle: u64,
    /// Its number; not 0, at most [`Limits::MAX_NUMBER`](crate::Limits::MAX_NUMBER).
    pub sequence: u64,
    /// Its id.
    pub tag: Tag,
    /// When it was accepted, in milliseconds since 1970-01-01 UTC, if that clock was plausible; not 0.
    pub sent_at_ms: Option<u64>,
    /// It may have been sent before: on an earlier connection, or before a rewind.
    pub redelivered: bool,
    /// The content.
    pub content: Content,
}

/// The content of a kept message. It stays encoded while it waits.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A term.
    Term(EncodedTerm),
    /// Bytes that are passed on unchanged.
    Raw(Vec<u8>),
}

/// Says that numbers carry no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skip {
    /// The stream.
    pub handle: u64,
    /// The first number; not 0.
    pub from: u64,
    /// The last number; not less than `from`, at most [`Limits::MAX_NUMBER`](crate::Limits::MAX_NUMBER).
    pub to: u64,
    /// Why.
    pub reason: SkipReason,
}

/// Acknowledges all numbers up to one, and allows the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The stream.
    pub handle: u64,
    /// The last number that the receiver is done with; 0 if none.
    pub up_to: u64,
    /// The tag of that message; 0 if there is none, or if the number carried none.
    pub tag: Tag,
    /// The last number that may be sent.
    pub credit_to: u64,
    /// How many bytes may be unacknowledged. One message may be bigger.
    pub credit_bytes: u64,
    /// Which of the acknowledged numbers the receiver has rejected, in ascending order, none twice.
    pub rejected: Vec<u64>,
}

impl Capabilities {
    /// The end takes kept messages: it understands all of [`DeliveryFrame`].
    pub const KEPT_MESSAGES: Self = Self(1);

    /// The end-to-end keep-alive: the cloud answers [`UpFrame::KeepAlive`](crate::UpFrame::KeepAlive), the device
    /// understands [`DownFrame::Alive`](crate::DownFrame::Alive).
    pub const KEEP_ALIVE: Self = Self(2);

    /// The end understands all of [`RequestFrame`](crate::RequestFrame), and answers each request, if only with
    /// [`NoReply`](crate::RequestFrame::NoReply).
    pub const REQUESTS: Self = Self(4);

    /// All that this version knows.
    pub const ALL: Self = Self(7);

    /// Whether all of `other` are in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that are in one of the sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Lane {
    /// All lanes, the one that goes first in front.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Normal];

    /// Its number on the wire.
    pub fn number(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::Urgent => 1,
        }
    }

    /// The lane with this number on the wire.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Normal),
            1 => Some(Self::Urgent),
            _ => None,
        }
    }

    /// Its name for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }
}

impl SkipReason {
    /// Its number on the wire.
    pub fn number(self) -> u64 {
        match self {
            Self::Expired => 1,
            Self::QueueFull => 2,
            Self::Replaced => 3,
            Self::Cancelled => 4,
            Self::Damaged => 5,
            Self::ReceiverRestored => 6,
            Self::OtherCloud => 7,
            Self::TooBig => 8,
            Self::Other(number) => number,
        }
    }

    /// The reason with this number on the wire.
    pub fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Expired,
            2 => Self::QueueFull,
            3 => Self::Replaced,
            4 => Self::Cancelled,
            5 => Self::Damaged,
            6 => Self::ReceiverRestored,
            7 => Self::OtherCloud,
            8 => Self::TooBig,
            number => Self::Other(number),
        }
    }

    /// Its name for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::QueueFull => "queue-full",
            Self::Replaced => "replaced",
            Self::Cancelled => "cancelled",
            Self::Damaged => "damaged",
            Self::ReceiverRestored => "receiver-restored",
            Self::OtherCloud => "other-cloud",
            Self::TooBig => "too-big",
            Self::Other(_) => "other",
        }
    }
}

impl Content {
    /// Its size, encoded, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Term(term) => term.size(),
            Self::Raw(bytes) => bytes.len(),
        }
    }

    /// What it takes in memory when it is decoded, in bytes, by the rule of `docs/protocol.md`.
    pub fn weight(&self) -> usize {
        match self {
            Self::Term(term) => term.weight(),
            Self::Raw(bytes) => Budget::allocation(bytes.len()),
        }
    }

    /// Its bytes: an encoded term, or those of a raw message.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Term(term) => term.as_bytes(),
            Self::Raw(bytes) => bytes,
        }
    }

    /// Whether the bytes are passed on unchanged.
    pub fn is_raw(&self) -> bool {
        matches!(self, Self::Raw(_))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstallationId({self})")
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

/// A text that is not the id of a kept message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message id, which has 16 hexadecimal digits in lower case")]
pub struct InvalidTag;

impl std::str::FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(digit) {
            return Err(InvalidTag);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidTag)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
