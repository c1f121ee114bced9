//! What goes wrong, and what is lost by it.

use std::io;

use fedecks_protocol::{Lane, SkipReason, StreamId, Tag};
use thiserror::Error;

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the queue on disk is full")]
pub struct Full;

/// Why a record is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AppendError {
    /// There is no room: see [`Queue::drop_oldest`](crate::Queue::drop_oldest).
    #[error(transparent)]
    Full(#[from] Full),
    /// The body is bigger than the limit.
    #[error("the message has {bytes} bytes, of which the queue takes at most {limit}")]
    TooBig {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The number does not follow the stream's last, the stream is of an earlier start, or has another lane.
    #[error("number {0} does not continue the stream")]
    OutOfOrder(u64),
}

/// Why records could not be written. They are still in memory, and the next flush tries again.
#[derive(Debug, Error)]
pub enum FlushError {
    /// The partition has no more room than is to be left free.
    #[error(transparent)]
    Full(#[from] Full),
    /// The disk refuses.
    #[error("cannot write the queue: {0}")]
    Io(#[from] io::Error),
}

/// Numbers that were given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The stream.
    pub stream: StreamId,
    /// Its lane.
    pub lane: Lane,
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
    /// How many messages.
    pub count: u64,
    /// Their ids, as far as they could be read; none if the whole stream was given up.
    pub tags: Vec<Tag>,
    /// Why.
    pub reason: SkipReason,
}

/// Something on the disk that could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The stream, unless the damage hides it.
    pub stream: Option<StreamId>,
    /// The first number that is missing; 0 if unknown.
    pub from: u64,
    /// The last; 0 if unknown.
    pub to: u64,
    /// What happened.
    pub reason: DamageReason,
}

/// What happened to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageReason {
    /// It does not begin like a segment; it was removed.
    Header,
    /// It is of a newer version; it was left as it is.
    Version,
    /// It could not be read; it was left as it is.
    Unreadable,
    /// Records are missing, or differ from their checksum.
    Records,
}
