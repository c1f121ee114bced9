//! Kept messages for devices, and their trait: what waits for each device, what was handed out, and what was settled.

use bytes::Bytes;
use fedecks_protocol::{DeviceId, Lane, SkipReason, StreamId, Tag};

use crate::boxed::StoreFuture;
use crate::down_size::{DownLimits, DownSize};
use crate::epoch::Epoch;
use crate::queue_item::in_pages;

/// Keeps messages for devices until they acknowledge them. Follows the [contract](crate#contract) of every store, but
/// is not audited.
///
/// A device has a stream for each lane, in which its messages are numbered from 1. What was handed out by
/// [`window`](DeviceQueueStore::window) may have arrived: it neither expires nor is it replaced or cancelled
/// before an acknowledgement has told that it did not. Numbers whose message was given up before that stay in the
/// stream without one.
///
/// [`DeviceStore::forget`](crate::DeviceStore::forget) drops what waits for the device, and ends its streams.
pub trait DeviceQueueStore: Epoch {
    /// Appends a message to the stream of its lane, in place of those with its collapse key that were not handed
    /// out, of either lane. What has expired takes room until [`expire_messages`](DeviceQueueStore::expire_messages)
    /// finds it.
    fn queue_message<'a>(
        &'a self,
        device: &'a DeviceId,
        message: NewDown,
        key: Option<IdempotencyKey>,
        limits: DownLimits,
    ) -> StoreFuture<'a, Queued>;

    /// Hands out what follows a number in the stream of a lane, if it did not expire before `now`, in seconds since
    /// 1970-01-01 UTC. That it was handed out is on disk before the answer. `None` if no message was ever
    /// queued there. Writes nothing if nothing is handed out for the first time.
    ///
    /// Without room for messages it hands out nothing, and tells how far the stream is.
    fn window<'a>(
        &'a self,
        device: &'a DeviceId,
        lane: Lane,
        after: u64,
        room: DownRoom,
        now: u64,
    ) -> StoreFuture<'a, Option<DownWindow>>;

    /// Settles what the device is done with, at `now` in seconds since 1970-01-01 UTC.
    fn acknowledge<'a>(
        &'a self,
        device: &'a DeviceId,
        acknowledgement: Acknowledgement,
        now: u64,
    ) -> StoreFuture<'a, Acknowledged>;

    /// Numbers what waits in a lane from 1 again, in a new stream, after [`Acknowledged::Diverged`]. Each
    /// message may have arrived before, and still expires or is given up as if it had not. Returns the stream.
    fn renumber<'a>(&'a self, device: &'a DeviceId, lane: Lane) -> StoreFuture<'a, StreamId>;

    /// The state of a message; `None` if it is not known, or not any more.
    fn message_status<'a>(
        &'a self,
        device: &'a DeviceId,
        id: Tag,
    ) -> StoreFuture<'a, Option<DownStatus>>;

    /// The messages of a device that wait or were settled lately, the newest first: those with a lower
    /// [`DownRecord::number`] than `before`. At most [`DownRecord::MAX_PAGE`] of them.
    fn device_messages<'a>(
        &'a self,
        device: &'a DeviceId,
        before: Option<u64>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<DownRecord>>;

    /// Gives up a message that was not handed out, at `now` in seconds since 1970-01-01 UTC.
    fn cancel_message<'a>(
        &'a self,
        device: &'a DeviceId,
        id: Tag,
        now: u64,
    ) -> StoreFuture<'a, Cancelled>;

    /// Does a part of what is due at `now`, in seconds since 1970-01-01 UTC: messages that were not handed out
    /// expire; settled ones and idempotency keys are deleted when they are older than
    /// [`DownStatus::MAX_AGE`].
    fn expire_messages(&self, now: u64) -> StoreFuture<'_, ExpiredMessages>;

    /// How much waits for all devices together.
    fn waiting(&self) -> StoreFuture<'_, DownSize>;
}

/// A message for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct NewDown {
    /// Its id, which is random. A message whose id is known is not queued again.
    pub id: Tag,
    /// Its lane.
    pub lane: Lane,
    /// The bytes are passed on unchanged; otherwise they are an encoded term.
    pub raw: bool,
    /// The content.
    pub body: Bytes,
    /// When it was accepted, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// When it expires, in seconds since 1970-01-01 UTC.
    pub expires_at: u64,
    /// It replaces the messages with the same key.
    pub collapse_key: Option<String>,
}

impl NewDown {
    /// About how many bytes of the store it takes while it waits for this device.
    pub fn stored_bytes(&self, device: &DeviceId) -> u64 {
        let key = self.collapse_key.as_ref().map_or(0, String::len);
        let texts = 4 * device.as_str().len() + 2 * key + self.body.len();
        in_pages(ROW + texts as u64)
    }
}

/// The room of a message in its table and the indexes, without texts.
const ROW: u64 = 200;

/// Recognizes a request that is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct IdempotencyKey {
    /// Which caller: each has separate keys.
    pub caller: String,
    /// The key that it has chosen.
    pub key: String,
    /// A digest of the request.
    pub digest: [u8; 32],
}

impl IdempotencyKey {
    /// The number of keys of a device that are remembered.
    pub const MAX_PER_DEVICE: u64 = 1000;

    /// A key takes the same room in a store however long its texts are.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        // The length separates the two.
        context.update(&(self.caller.len() as u64).to_be_bytes());
        context.update(self.caller.as_bytes());
        context.update(self.key.as_bytes());
        context.finish().as_ref().to_vec()
    }
}

/// The answer to a message that is to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store fills it, and a caller that ignores a new variant must not compile"
)]
pub enum Queued {
    /// It waits.
    Accepted {
        /// The messages that it has replaced.
        replaced: Vec<Tag>,
    },
    /// The request was accepted before, with this message.
    Repeated(Tag),
    /// The key belongs to another request.
    KeyConflict,
    /// Too much waits for the device.
    QueueFull,
    /// Too much waits for all devices.
    StoreFull,
}

/// How much is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct DownRoom {
    /// The number of messages.
    pub messages: usize,
    /// The bytes of their bodies. One message may be bigger.
    pub bytes: u64,
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct DownWindow {
    /// The stream.
    pub stream: StreamId,
    /// The first number that is not acknowledged.
    pub oldest: u64,
    /// The last number.
    pub newest: u64,
    /// The last number that was handed out before, or is acknowledged.
    pub tried: u64,
    /// What the numbers carry, without gaps.
    pub entries: Vec<DownEntry>,
    /// Which messages have expired now.
    pub expired: Vec<Tag>,
    /// There are further entries.
    pub more: bool,
}

/// What a number, or several, carry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store fills it, and a caller that ignores a new variant must not compile"
)]
pub enum DownEntry {
    /// A message.
    Message(DownMessage),
    /// No message.
    Void {
        /// The first number.
        from: u64,
        /// The last number.
        to: u64,
        /// Why.
        reason: SkipReason,
    },
}

/// A message that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct DownMessage {
    /// Its number.
    pub sequence: u64,
    /// Its id.
    pub id: Tag,
    /// The bytes are passed on unchanged; otherwise they are an encoded term.
    pub raw: bool,
    /// The content.
    pub body: Bytes,
    /// When it was accepted, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// It was handed out before, and may have arrived.
    pub redelivered: bool,
}

/// How far a device is in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct Acknowledgement {
    /// The stream.
    pub stream: StreamId,
    /// The last number that it is done with.
    pub up_to: u64,
    /// The tag of that message; 0 if the number carried none, or on a connection that is resumed already, if it is
    /// not known.
    pub tag: Tag,
    /// Which of the numbers it has rejected.
    pub rejected: Vec<u64>,
    /// It is the first on a connection: what follows did not arrive. The caller lets go of what it has of the
    /// stream, and asks for it by [`DeviceQueueStore::window`] again.
    pub resumed: bool,
}

/// The effect of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store fills it, and a caller that ignores a new variant must not compile"
)]
pub enum Acknowledged {
    /// These messages were settled.
    Settled(Vec<(Tag, DownState)>),
    /// The device has no such stream.
    UnknownStream,
    /// The device knows numbers or messages that the store does not, which is older then. Nothing was changed; the
    /// lane has to be numbered by [`DeviceQueueStore::renumber`].
    Diverged,
}

/// The state of a message for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store fills it, and a caller that ignores a new variant must not compile"
)]
pub enum DownState {
    /// It waits.
    Queued,
    /// It was handed out, and may have arrived.
    Sent,
    /// The device has taken it.
    Delivered,
    /// The device has rejected it.
    Rejected,
    /// It expired before it was sent.
    Expired,
    /// It was given up before it was sent, or its device was forgotten.
    Dropped(DropReason),
}

/// Why a message for a device was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store fills it, and a caller that ignores a new variant must not compile"
)]
pub enum DropReason {
    /// A newer message has the same collapse key.
    Replaced,
    /// It was cancelled.
    Cancelled,
    /// The device was forgotten: its id may get another holder.
    ReRegistered,
}

impl DownState {
    /// Its name for programs and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Dropped(_) => "dropped",
        }
    }

    /// Why it was dropped, for programs and people.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Dropped(reason) => Some(reason.as_str()),
            _ => None,
        }
    }
}

impl DropReason {
    /// Its name for programs and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Cancelled => "cancelled",
            Self::ReRegistered => "re-registered",
        }
    }
}

/// What is known about a message. Times are in seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct DownStatus {
    /// Its state.
    pub state: DownState,
    /// Its lane.
    pub lane: Lane,
    /// When it was accepted.
    pub queued_at: u64,
    /// When it was settled, or accepted if it still waits.
    pub changed_at: u64,
    /// When it expires or would have expired.
    pub expires_at: u64,
}

impl DownStatus {
    /// How long settled messages are kept, in seconds; idempotency keys too.
    pub const MAX_AGE: u64 = 24 * 60 * 60;

    /// The number of settled messages of a device that are kept.
    pub const MAX_SETTLED: u64 = 1000;
}

/// A message in the list of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct DownRecord {
    /// Its number in the list: a later one has a higher number.
    pub number: u64,
    /// Its id.
    pub id: Tag,
    /// Its state.
    pub status: DownStatus,
    /// About how many bytes of the store it takes, or took while it was waiting.
    pub bytes: u64,
}

impl DownRecord {
    /// The largest number of messages in one answer.
    pub const MAX_PAGE: u32 = 500;
}

/// The effect of cancelling a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store fills it, and a caller that ignores a new variant must not compile"
)]
pub enum Cancelled {
    /// It is dropped.
    Dropped,
    /// It was handed out, and may arrive.
    AlreadySent,
    /// It was settled before, in this state.
    Settled(DownState),
    /// It is not known, or not any more.
    Unknown,
}

/// What [`DeviceQueueStore::expire_messages`] has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct ExpiredMessages {
    /// The messages that have expired.
    pub messages: Vec<(DeviceId, Tag)>,
    /// More is due.
    pub more: bool,
}
