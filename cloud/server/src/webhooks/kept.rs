//! The events of kept messages: the store takes them together with the acknowledgement, so that a message that the
//! device no longer has is in the queue of each webhook that wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fedecks_store::{Enqueue, QueueBudget, QueueItem};
use tokio::sync::Notify;

use super::queue_name::queue_name;
use crate::config::Webhook;
use crate::events::{Event, Filter};

/// The webhooks, as those who store kept messages see them. Clones share them.
#[derive(Clone)]
pub(crate) struct KeptEvents(Arc<Targets>);

struct Targets {
    all: Vec<Target>,
    /// Notified when this server has stored something.
    stored: Notify,
}

struct Target {
    filter: Filter,
    queue: String,
    budget: QueueBudget,
    bell: Arc<Bell>,
}

/// Wakes the worker of one webhook.
#[derive(Default)]
pub(super) struct Bell {
    rung: Notify,
    /// The receiver wants nothing until the next start.
    is_gone: AtomicBool,
}

impl Bell {
    /// Waits until something was stored for the webhook. Cancel safe.
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Nothing is stored any more.
    pub(super) fn gone(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}

impl KeptEvents {
    pub(crate) fn new(webhooks: &[Webhook]) -> Self {
        let target = |webhook: &Webhook| Target {
            filter: webhook_filter(webhook),
            queue: queue_name(&webhook.name),
            budget: budget(webhook),
            bell: Arc::default(),
        };
        let all = webhooks.iter().map(target).collect();
        Self(Arc::new(Targets { all, stored: Notify::new() }))
    }

    /// The bell of a webhook, by its place in the configuration.
    pub(super) fn bell(&self, place: usize) -> Arc<Bell> {
        self.0.all.get(place).map_or_else(Arc::default, |target| target.bell.clone())
    }

    /// What the store takes for this event: an item for each webhook that wants it. `id` is the event's id, and `at`
    /// the time in seconds since 1970-01-01 UTC.
    pub(crate) fn enqueue(&self, event: &Event, id: &str, at: u64) -> Vec<Enqueue> {
        let mut body = None;
        let wants = |target: &&Target| {
            !target.bell.is_gone.load(Ordering::Relaxed) && target.filter.matches(event)
        };
        let item = |target: &Target| {
            let body = body.get_or_insert_with(|| {
                let mut json = Vec::new();
                event.write_json(id, &mut json);
                Bytes::from(json)
            });
            let lane = event.device.as_ref().map(ToString::to_string).unwrap_or_default();
            let item = QueueItem { lane, id: id.to_owned(), body: body.clone(), at };
            Enqueue { queue: target.queue.clone(), item, budget: target.budget }
        };
        self.0.all.iter().filter(wants).map(item).collect()
    }

    /// This server has stored something.
    pub(crate) fn stored(&self) {
        self.ring();
        self.0.stored.notify_one();
    }

    /// Waits until this server has stored something. Cancel safe.
    pub(crate) async fn stored_here(&self) {
        self.0.stored.notified().await;
    }

    /// A server has stored something.
    pub(crate) fn ring(&self) {
        for target in &self.0.all {
            target.bell.rung.notify_one();
        }
    }
}

/// The events that a webhook wants.
pub(super) fn webhook_filter(webhook: &Webhook) -> Filter {
    let devices = webhook.devices.clone().into_iter().collect();
    Filter::new(devices, &webhook.kinds)
}

/// How much may wait for a webhook.
pub(super) fn budget(webhook: &Webhook) -> QueueBudget {
    QueueBudget { items: webhook.keep as u64, bytes: webhook.keep_bytes }
}
