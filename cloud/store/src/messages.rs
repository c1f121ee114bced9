//! Kept messages of devices, and their trait: how far each device is, and the log of what it sent.

use bytes::Bytes;
use fedecks_protocol::{DeviceId, InstallationId, Lane, StreamId, Tag};

use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;
use crate::epoch::Epoch;
use crate::queue::QueueBudget;
use crate::queue_item::QueueItem;

/// Stores what devices sent as kept messages. Follows the [contract](crate#contract) of every store, but is not
/// audited.
///
/// The position in a stream and the effects of a message change together: a message whose position is stored is
/// handled, and one whose position is not can be sent again.
pub trait MessageStore: Epoch {
    /// The id of the installation, made with the store.
    fn installation(&self) -> StoreFuture<'_, InstallationId>;

    /// How far the streams of a device are, at most [`StreamPosition::MAX_PER_LANE`] of each lane, for a connection
    /// that moves them from now on. Earlier ones no longer can.
    fn open_streams<'a>(&'a self, device: &'a DeviceId) -> StoreFuture<'a, OpenStreams>;

    /// Takes steps in their order, together. Returns how many: none with another fence than the latest of the device.
    /// A step whose stream is not at [`Step::from`] is not taken, nor are those after it. The streams of a lane
    /// beyond the maximum are forgotten, those first that were not used for the longest time.
    fn accept<'a>(
        &'a self,
        device: &'a DeviceId,
        fence: Fence,
        steps: Vec<Step>,
    ) -> StoreFuture<'a, usize>;

    /// Forgets a stream that is finished.
    fn forget_stream<'a>(&'a self, device: &'a DeviceId, stream: StreamId) -> StoreFuture<'a, ()>;

    /// A page of the log, in the order in which the messages were accepted. Fewer than the limit if they are big, and
    /// none only if there are no more.
    fn logged<'a>(&'a self, query: &'a LogQuery) -> StoreFuture<'a, Vec<LoggedMessage>>;

    /// What the log has.
    fn log_status(&self) -> StoreFuture<'_, LogStatus>;

    /// Deletes the oldest messages of the log, in steps: those that were accepted before this time, in seconds since
    /// 1970-01-01 UTC, and those that exceed this number of bytes. Returns how many; the newest stays.
    fn trim_log(&self, before: u64, bytes: u64) -> StoreFuture<'_, u64>;
}

/// Tells a connection of a device from earlier ones. What the number means is up to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads and fills it, and one that ignores a new field must not compile"
)]
pub struct Fence(pub i64);

/// The streams of a device, for one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct OpenStreams {
    /// What [`MessageStore::accept`] needs.
    pub fence: Fence,
    /// How far they are.
    pub positions: Vec<StreamPosition>,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct StreamPosition {
    /// The stream.
    pub stream: StreamId,
    /// Its lane.
    pub lane: Lane,
    /// The last number that is done.
    pub up_to: u64,
    /// The tag of that message; 0 if the number carried none.
    pub tag: Tag,
}

impl StreamPosition {
    /// The number of streams of a device and lane that are remembered.
    pub const MAX_PER_LANE: usize = 8;
}

/// Moves the position of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct Step {
    /// Where it is now, 0 for a new stream.
    pub from: u64,
    /// Where it will be.
    pub to: StreamPosition,
    /// What is stored with it.
    pub effects: Effects,
}

/// What is stored together with a position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct Effects {
    /// The message, for the log.
    pub log: Option<NewLogged>,
    /// Items of queues.
    pub enqueue: Vec<Enqueue>,
}

/// A message for the log. Its number and its id are those of the step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct NewLogged {
    /// It may have been handled before.
    pub redelivered: bool,
    /// When it was sent, in milliseconds since 1970-01-01 UTC, if the device's clock was plausible.
    pub sent_at_ms: Option<u64>,
    /// When it was accepted, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// The content.
    pub content: LoggedContent,
}

/// The content of a logged message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store reads and fills it, and one that ignores a new variant must not compile"
)]
pub enum LoggedContent {
    /// JSON.
    Json(Bytes),
    /// Bytes that are passed on unchanged.
    Raw(Bytes),
}

/// An item for a queue, added as [`QueueStore::enqueue`](crate::QueueStore::enqueue) does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct Enqueue {
    /// The queue.
    pub queue: String,
    /// The item.
    pub item: QueueItem,
    /// The budget of the queue.
    pub budget: QueueBudget,
}

/// Which messages of the log.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct LogQuery {
    /// Only those after this number.
    pub after: u64,
    /// Only those of devices that match all of these.
    pub devices: Vec<DevicePattern>,
    /// The length of the page.
    pub limit: u32,
}

/// A message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct LoggedMessage {
    /// Its number in the log: a later one has a higher number.
    pub number: u64,
    /// The device.
    pub device: DeviceId,
    /// Its lane.
    pub lane: Lane,
    /// Its id, which is unique for the device.
    pub id: Tag,
    /// It as it was added.
    pub message: NewLogged,
}

/// What the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct LogStatus {
    /// The number of the oldest message, or of the next one if there is none.
    pub first: u64,
    /// The number of the next message.
    pub next: u64,
    /// About how many bytes of the store they take.
    pub bytes: u64,
}
