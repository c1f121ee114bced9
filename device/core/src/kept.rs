//! Kept messages of the application: what it asks for, and the answers.

use std::time::Duration;

use fedecks_protocol::{EncodeError, Lane, Tag, Term};

/// Identifies the request to keep a message; chosen by the driver and repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeepId(pub u64);

/// Where a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Place {
    /// In memory.
    #[default]
    Memory,
    /// On disk, unless the cloud acknowledges it soon.
    Disk {
        /// It is written at once.
        sync: bool,
    },
}

/// A message to keep until the cloud has acknowledged it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewKept {
    /// Its lane.
    pub lane: Lane,
    /// Its content.
    pub content: NewContent,
    /// The time in milliseconds since 1970-01-01 UTC, if the clock is plausible.
    pub sent_at_ms: Option<u64>,
    /// How long it is kept at most.
    pub expires_in: Duration,
    /// Where.
    pub place: Place,
}

/// The content of a message to keep.
#[derive(Debug, Clone, PartialEq)]
pub enum NewContent {
    /// A term.
    Term(Term),
    /// Bytes that are passed on unchanged.
    Raw(Vec<u8>),
}

/// Why a message is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// It exceeds the limits of the device or the cloud, or cannot be encoded.
    #[error("cannot encode the message: {0}")]
    Encode(#[from] EncodeError),
    /// Messages that wait take all the memory that they may, and none of them may be dropped.
    #[error("the queue is full: {waiting} bytes wait, at most {limit} may")]
    QueueFull {
        /// How many bytes wait.
        waiting: u64,
        /// How many may, in bytes.
        limit: u64,
    },
    /// The message could not be written, or not in time. It waits in memory all the same, is sent from there, and is
    /// written as soon as that is possible.
    #[error("message {tag} is not on disk: {error}; it waits in memory")]
    Disk {
        /// The id of the message.
        tag: Tag,
        /// Why.
        error: String,
    },
    /// The client keeps nothing on disk.
    #[error("messages cannot be kept on disk here")]
    NoDisk,
    /// The connection was shut down.
    #[error("the client was shut down")]
    ShutDown,
}

/// What waits for the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueStatus {
    /// The number of messages that are not acknowledged, in memory and on disk.
    pub messages: u64,
    /// The bytes of those that are kept in memory.
    pub bytes: u64,
    /// How many were lost since the start: expired, dropped, or rejected by the cloud.
    pub lost: u64,
    /// Those of the lane `normal`.
    pub normal: LaneQueueStatus,
    /// Those of the lane `urgent`.
    pub urgent: LaneQueueStatus,
}

/// What waits for the cloud in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LaneQueueStatus {
    /// The number of messages that are kept in memory.
    pub in_memory: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// The number of messages on disk, or on their way there.
    pub on_disk: u64,
    /// When the oldest of all was accepted, in milliseconds since 1970-01-01 UTC, if that clock was plausible.
    pub oldest_at_ms: Option<u64>,
}

/// What a message takes in memory besides its content, in bytes.
pub(crate) const OVERHEAD: u64 = 160;
