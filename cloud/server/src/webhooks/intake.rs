//! Takes the events of one webhook from the event log, in batches for the store.

use fedecks_store::QueueItem;

use super::kept::webhook_filter;
use crate::config::Webhook;
use crate::event_kind::EventKind;
use crate::events::{EventLog, Item, Reader};

/// How many events are stored at a time.
const BATCH: usize = 256;

/// A batch ends after about this many bytes: others wait for the store meanwhile.
const BATCH_BYTES: usize = 256 * 1024;

pub(super) struct Intake {
    events: Reader,
    /// Read from the event log, and not in the store yet.
    batch: Vec<QueueItem>,
    /// How often events left the log before they were read, which is not in the store yet either.
    missed: u64,
}

impl Intake {
    /// Of what happens from now on: what an earlier run left is in the store.
    pub(super) fn new(webhook: &Webhook, events: &EventLog) -> Self {
        Self {
            events: Reader::follow_for_webhooks(events, webhook_filter(webhook)),
            batch: Vec::new(),
            missed: 0,
        }
    }

    /// Waits for something in the log. Cancel safe.
    pub(super) async fn next(&mut self) -> Item {
        self.events.next().await
    }

    /// Adds what was read to the batch; `at` is the time in seconds since 1970-01-01 UTC.
    pub(super) fn accept(&mut self, item: Item, at: u64) {
        match item {
            Item::Event(entry) => {
                // The store has a kept one already.
                let Some(event) = entry.own().filter(|event| event.kept().is_none()) else {
                    return;
                };
                // A refused client may have claimed any device id: that device's events don't wait for it.
                let device = event.device.as_ref();
                let device = device.filter(|_| event.kind() != EventKind::Refused);
                let lane = device.map(ToString::to_string).unwrap_or_default();
                self.batch.push(QueueItem { lane, id: entry.id(), body: entry.json(), at });
            }
            Item::Gap { .. } => self.missed += 1,
        }
    }

    /// Fills the batch with what the log has already.
    pub(super) async fn fill(&mut self, at: u64) {
        while !self.is_full() {
            let Some(item) = self.events.ready().await else { break };
            self.accept(item, at);
        }
    }

    fn is_full(&self) -> bool {
        let bytes = || self.batch.iter().map(|item| item.body.len()).sum::<usize>();
        self.batch.len() >= BATCH || bytes() >= BATCH_BYTES
    }

    /// Whether nothing is to be stored.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.missed == 0
    }

    /// What is to be stored, and how often events are missing before it.
    pub(super) fn batch(&self) -> (Vec<QueueItem>, u64) {
        (self.batch.clone(), self.missed)
    }

    /// The batch is stored.
    pub(super) fn stored(&mut self) {
        self.batch.clear();
        self.missed = 0;
    }
}
