//! Named consumers of the message log, and their trait: how far each has read, and what it missed.

use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;
use crate::epoch::Epoch;

/// Stores how far the readers of the [message log](crate::MessageStore::logged) are. Follows the
/// [contract](crate#contract) of every store, but is not audited.
///
/// The place of a consumer is the number of the last message that it is done with. It never goes back, and never
/// beyond the end of the log.
pub trait ConsumerStore: Epoch {
    /// Says where a consumer continues, once [`OpenConsumer::after`] is acknowledged. Adds the consumer if it is not
    /// known, at that place, or else at the beginning of the log.
    fn open_consumer<'a>(&'a self, consumer: &'a OpenConsumer) -> StoreFuture<'a, ConsumerAnswer>;

    /// Moves the place of a consumer over what has left the log. Returns the number of these messages, together with
    /// those of earlier calls, until the consumer acknowledges something after them; 0 for an unknown consumer.
    fn count_missed<'a>(&'a self, name: &'a str) -> StoreFuture<'a, u64>;

    /// Moves the place of a consumer to this number, unless it is further. Never adds one.
    fn acknowledge_log<'a>(
        &'a self,
        name: &'a str,
        to: u64,
        at: u64,
    ) -> StoreFuture<'a, LogAcknowledged>;

    /// All consumers, by name.
    fn consumers(&self) -> StoreFuture<'_, Vec<ConsumerRecord>>;

    /// Removes a consumer. Returns false if it is not known.
    fn remove_consumer<'a>(&'a self, name: &'a str) -> StoreFuture<'a, bool>;
}

/// A consumer that reads.
#[derive(Debug, Clone)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct OpenConsumer {
    /// Its name.
    pub name: String,
    /// Whose messages it reads.
    pub devices: ConsumerDevices,
    /// It is done with the messages up to this number. Ignored if the log has not come that far.
    pub after: Option<u64>,
    /// Now, in seconds since 1970-01-01 UTC.
    pub at: u64,
}

/// Whose messages a consumer reads, which never changes: what it does not read is passed over for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads and fills it, and one that ignores a new field must not compile"
)]
pub struct ConsumerDevices {
    /// Those that it asks for; all if it names none.
    pub asked: Option<DevicePattern>,
    /// Those that it is limited to, if it is.
    pub scope: Option<DevicePattern>,
}

/// Where a consumer continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store fills it, and its callers must tell each apart"
)]
pub enum ConsumerAnswer {
    /// After this number.
    After(u64),
    /// The name belongs to a consumer that reads the messages of other devices. Nothing has changed.
    OtherDevices,
    /// There are [`ConsumerRecord::MAX`] others. Nothing has changed.
    TooMany,
}

/// The result of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every store fills it, and its callers must tell each apart"
)]
pub enum LogAcknowledged {
    /// The consumer is there, or further.
    Done,
    /// The log has not come that far, as after a restore.
    BeyondLog,
    /// The consumer does not exist.
    Unknown,
}

/// A consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct ConsumerRecord {
    /// Its name.
    pub name: String,
    /// Whose messages it reads.
    pub devices: ConsumerDevices,
    /// The number of the last message that it is done with.
    pub place: u64,
    /// How many messages, of whatever device, left the log unread since it was added.
    pub missed: u64,
    /// When it last read or acknowledged, within a minute, in seconds since 1970-01-01 UTC.
    pub used_at: u64,
}

impl ConsumerRecord {
    /// The number of consumers that there may be.
    pub const MAX: usize = 100;
}
