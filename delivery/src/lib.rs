//! The rules of acknowledged delivery, for both ends of a connection. This crate does no I/O and knows no clock:
//! a [`Sender`] decides what is sent when, and a [`Receiver`] what is handed over and acknowledged.
//!
//! `docs/protocol.md` describes the frames, `docs/delivery.md` what they promise.

mod outbound;
mod receiver;
mod sender;
mod violation;

pub use outbound::{Entry, Message};
pub use receiver::{Advance, Gap, Outcome, Receiver};
pub use sender::{Acked, Renumbered, Sender, Settled, Transmit, Waiting};
pub use violation::Violation;

use fedecks_protocol::Tag;

/// How far a receiver is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The last number that it is done with.
    pub up_to: u64,
    /// The tag of that message; 0 if the number carried none.
    pub tag: Tag,
}

/// How much may be unacknowledged in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credit {
    /// The number of messages.
    pub messages: u64,
    /// Their bytes. One message may be bigger.
    pub bytes: u64,
}

impl Credit {
    /// Before the first acknowledgement of a new stream.
    pub const INITIAL: Self = Self { messages: 8, bytes: 32 * 1024 };

    /// The most that a receiver grants.
    pub const MAX: Self = Self { messages: 64, bytes: 256 * 1024 };
}

/// The most streams that an end has open in a lane.
pub const MAX_STREAMS: usize = 8;
