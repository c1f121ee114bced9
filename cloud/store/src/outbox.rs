//! The outbox: events that wait to be delivered to webhooks, and their trait. Their order of delivery is up
//! to the server.

use bytes::Bytes;

use crate::boxed::StoreFuture;
use crate::epoch::Epoch;

/// Stores events that wait to be delivered to webhooks. Follows the [contract](crate#contract) of every
/// store, but is not audited.
pub trait OutboxStore: Epoch {
    /// Appends events to those that wait for the webhook; `at` is the time in seconds since 1970-01-01 UTC.
    /// Returns the number of each: a later one has a higher number. They are stored together: no more than
    /// a megabyte at a time, or others wait for it.
    fn outbox_add<'a>(
        &'a self,
        webhook: &'a str,
        entries: Vec<OutboxEntry>,
        at: u64,
    ) -> StoreFuture<'a, Vec<u64>>;

    /// The events that wait for the webhook, oldest first.
    fn outbox<'a>(&'a self, webhook: &'a str) -> StoreFuture<'a, Vec<OutboxItem>>;

    /// The event of the webhook with this number, if it is still there.
    fn outbox_body<'a>(
        &'a self,
        webhook: &'a str,
        sequence: u64,
    ) -> StoreFuture<'a, Option<OutboxEntry>>;

    /// Removes events that were delivered or dropped, by number and id: after a restore a number may belong
    /// to another event. Ignores those that are not there.
    fn outbox_remove<'a>(
        &'a self,
        webhook: &'a str,
        events: Vec<(u64, String)>,
    ) -> StoreFuture<'a, ()>;

    /// Removes the events of all webhooks except these. Returns how many.
    fn outbox_keep_only<'a>(&'a self, webhooks: &'a [String]) -> StoreFuture<'a, u64>;
}

/// An event for a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads and fills it, and one that ignores a new field must not compile"
)]
pub struct OutboxEntry {
    /// The events of one lane are delivered in order: the device's id, or empty.
    pub lane: String,
    /// Id of the event.
    pub event: String,
    /// The body of the delivery, which is text. Clones share it.
    pub body: Bytes,
}

impl OutboxEntry {
    /// About how many bytes of the store it takes: its texts, its row, and a page if it does not fit into one.
    pub fn stored_bytes(&self) -> u64 {
        stored_bytes(&self.lane, &self.event, self.body.len() as u64)
    }
}

/// The room in the store for an event without its texts: the name of its webhook, which is stored twice, and
/// its numbers.
const ROW: u64 = 160;

/// A page of the store. What does not fit into one begins on a page that it may not fill.
const PAGE: u64 = 4096;

/// About how many bytes of the store an event takes.
pub(crate) fn stored_bytes(lane: &str, event: &str, body: u64) -> u64 {
    let row = ROW + lane.len() as u64 + event.len() as u64 + body;
    if row < PAGE { row } else { row + PAGE }
}

/// An event in the outbox, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct OutboxItem {
    /// Its number.
    pub sequence: u64,
    /// Its lane, see [`OutboxEntry`].
    pub lane: String,
    /// Id of the event.
    pub event: String,
    /// About how many bytes of the store it takes.
    pub bytes: u64,
    /// When it was added, in seconds since 1970-01-01 UTC.
    pub at: u64,
}
