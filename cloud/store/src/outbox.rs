//! What waits to be delivered to webhooks.

use crate::boxed::BoxFuture;
use crate::epoch::Epoch;
use crate::error::StoreError;

/// Keeps what waits to be delivered to webhooks by the [contract](crate#contract) of every store: every
/// change is answered when it is on disk. The audit log has nothing of it.
pub trait OutboxStore: Epoch {
    /// Puts events behind those that wait for the webhook already; `at` is the time in seconds since
    /// 1970-01-01 UTC. Returns the number of each: a later one has a higher number.
    fn outbox_add<'a>(
        &'a self,
        webhook: &'a str,
        entries: Vec<OutboxEntry>,
        at: u64,
    ) -> BoxFuture<'a, Result<Vec<u64>, StoreError>>;

    /// Everything that waits for the webhook, oldest first.
    fn outbox<'a>(&'a self, webhook: &'a str)
    -> BoxFuture<'a, Result<Vec<OutboxItem>, StoreError>>;

    /// What stands behind a number of the webhook, if it is still there.
    fn outbox_body<'a>(
        &'a self,
        webhook: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<OutboxEntry>, StoreError>>;

    /// Removes what is delivered or given up: the numbers with the ids of their events, since after a
    /// restore a number may stand for another event. What is not there is no error.
    fn outbox_remove<'a>(
        &'a self,
        webhook: &'a str,
        events: Vec<(u64, String)>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes everything that waits for other webhooks than these; how much that was.
    fn outbox_keep_only<'a>(
        &'a self,
        webhooks: &'a [String],
    ) -> BoxFuture<'a, Result<u64, StoreError>>;
}

/// An event on its way to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Those of one lane are delivered one after the other: the device's id, or nothing.
    pub lane: String,
    /// Id of the event.
    pub event: String,
    /// What is delivered.
    pub body: String,
}

/// The place of an event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxItem {
    /// Its number.
    pub sequence: u64,
    /// Its lane, see [`OutboxEntry`].
    pub lane: String,
    /// Id of the event.
    pub event: String,
    /// How many bytes are delivered.
    pub bytes: u64,
    /// When it was put there, in seconds since 1970-01-01 UTC.
    pub at: u64,
}
