//! Kept messages of the application: what it asks for, and the answers.

use std::time::Duration;

use fedecks_protocol::{EncodeError, Lane, Term};

/// Identifies the request to keep a message; chosen by the driver and repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeepId(pub u64);

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
    /// The connection was shut down.
    #[error("the client was shut down")]
    ShutDown,
}

/// What waits for the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueStatus {
    /// The number of messages that are not acknowledged.
    pub messages: u64,
    /// Their bytes in memory.
    pub bytes: u64,
    /// How many were lost since the start: expired, dropped, or rejected by the cloud.
    pub lost: u64,
}
