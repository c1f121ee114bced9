//! What the core has done with the queue on disk, and what comes back.

use std::time::Duration;

use fedecks_protocol::{Content, InstallationId, Lane, SkipReason, StreamId, Tag};

use crate::time::Time;

/// What to do with the queue on disk, in the order of the fields. The driver executes one at a time and reports to
/// `handle_queue`. The queue is opened first if it is not open.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct QueueJob {
    /// The installation that the messages are for, if it is known. It is stored with them.
    pub installation: Option<InstallationId>,
    /// Streams to remove with everything in them.
    pub forget: Vec<StreamId>,
    /// Everything in a stream up to a number is done.
    pub acknowledged: Vec<(StreamId, u64)>,
    /// Messages to take. What has no room is returned.
    pub append: Vec<QueuedMessage>,
    /// What must not be dropped to make room: everything in a stream up to a number.
    pub in_memory: Vec<(StreamId, u64)>,
    /// Write what was taken, so that a power cut does not lose it.
    pub flush: bool,
    /// Read what follows a number of a stream.
    pub load: Option<(StreamId, u64)>,
}

/// The most that is read at a time.
impl QueueJob {
    /// The number of entries.
    pub const LOAD_ENTRIES: usize = 64;
    /// Their bytes; one entry may be bigger.
    pub const LOAD_BYTES: usize = 64 * 1024;
}

/// A message for the queue on disk.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueuedMessage {
    /// Its stream.
    pub stream: StreamId,
    /// The lane of that.
    pub lane: Lane,
    /// Its number.
    pub sequence: u64,
    /// Its id.
    pub tag: Tag,
    /// When it was accepted.
    pub accepted: Time,
    /// The same in milliseconds since 1970-01-01 UTC, if that clock was plausible.
    pub sent_at_ms: Option<u64>,
    /// When it expires.
    pub expires_at: Time,
    /// The same on the clock of `sent_at_ms`.
    pub expires_at_ms: Option<u64>,
    /// The content.
    pub content: Content,
}

/// The result of a [`QueueJob`].
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(clippy::exhaustive_structs, reason = "the driver makes it")]
pub struct QueueDone {
    /// The time in milliseconds since 1970-01-01 UTC, if the clock is plausible.
    pub now_ms: Option<u64>,
    /// The queue was opened by this job.
    pub opened: Option<QueueOpened>,
    /// Messages that were not taken, in their order.
    pub returned: Vec<QueuedMessage>,
    /// Messages that were given up to make room.
    pub lost: Vec<QueueLost>,
    /// What was taken is written; otherwise, why not.
    pub flushed: Option<Result<(), String>>,
    /// What was read.
    pub loaded: Option<Result<Vec<QueueEntry>, String>>,
    /// Why the queue cannot be used, or takes no more.
    pub error: Option<String>,
    /// What the queue holds.
    pub usage: QueueUsage,
}

/// What was found on disk.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(clippy::exhaustive_structs, reason = "the driver makes it")]
pub struct QueueOpened {
    /// The streams of earlier starts, the oldest first.
    pub found: Vec<FoundStream>,
    /// The installation that they are for, if it is known.
    pub installation: Option<InstallationId>,
    /// How many pieces of the disk could not be used.
    pub damaged: u64,
    /// How many messages were dropped because they are another device's.
    pub foreign: u64,
}

/// A stream of an earlier start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the driver makes it")]
pub struct FoundStream {
    /// Its id.
    pub stream: StreamId,
    /// Its lane.
    pub lane: Lane,
    /// The first number.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many of them carry a message.
    pub messages: u64,
}

/// Messages that were given up to make room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the driver makes it")]
pub struct QueueLost {
    /// The stream.
    pub stream: StreamId,
    /// How many.
    pub count: u64,
    /// Their ids, as far as they are known.
    pub tags: Vec<Tag>,
    /// Why.
    pub reason: SkipReason,
}

/// An entry that was read from disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the driver makes it")]
pub struct QueueEntry {
    /// The first of its numbers.
    pub from: u64,
    /// The last of its numbers, of which a message has one.
    pub to: u64,
    /// What it is.
    pub item: QueueItem,
}

/// What a number on disk carries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the driver makes it")]
pub enum QueueItem {
    /// A message.
    Message {
        /// Its id.
        tag: Tag,
        /// When it was accepted, in milliseconds since 1970-01-01 UTC.
        sent_at_ms: Option<u64>,
        /// When it expires, on the same clock.
        expires_at_ms: Option<u64>,
        /// Whether the body is passed on unchanged.
        raw: bool,
        /// The content, encoded.
        body: Vec<u8>,
    },
    /// No message any more.
    Void(SkipReason),
}

/// What the queue on disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "the driver makes it")]
pub struct QueueUsage {
    /// Messages, also those that are acknowledged until their file is removed.
    pub messages: u64,
    /// Bytes of all files, and of what could not be written yet.
    pub bytes: u64,
    /// Bytes that could not be written yet, and are in memory.
    pub unwritten_bytes: u64,
}

/// What is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DiskQueueStatus {
    /// Messages that are not acknowledged, on disk or on their way there.
    pub messages: u64,
    /// The bytes of the files.
    pub bytes: u64,
    /// Pieces of the disk that could not be used at the start.
    pub damaged: u64,
    /// Why the queue cannot be used, or takes no more; none if it could the last time.
    pub error: Option<String>,
}

/// The limits of the queue on disk. The driver applies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a pair of limits")]
pub struct DiskLimits {
    /// Bytes of all files.
    pub max_bytes: u64,
    /// Messages of all lanes.
    pub max_messages: u64,
}

impl Default for DiskLimits {
    /// 16 MiB, 50,000 messages.
    fn default() -> Self {
        Self { max_bytes: 16 * 1024 * 1024, max_messages: 50_000 }
    }
}

/// The longest that a message waits to be written before its caller learns that it is not on disk.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
