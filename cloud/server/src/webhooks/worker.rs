//! Moves the events of one webhook from the event log into the store, and from there to its receiver.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fedecks_store::{Clock, OutboxEntry, OutboxItem, OutboxStore, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::counters::WebhookCounters;
use super::delivery::{Outcome, Receiver};
use super::queue::{Delivery, DeliveryQueue, Pending};
use crate::config::Webhook;
use crate::error::ServerError;
use crate::event_kind::EventKind;
use crate::events::{EventLog, Filter, Item, Reader};

/// Delivers the events of one webhook.
pub(super) struct Worker {
    webhook: Webhook,
    store: Arc<dyn OutboxStore>,
    events: Reader,
    receiver: Receiver,
    queue: DeliveryQueue,
    in_flight: JoinSet<(Delivery, Attempt)>,
    /// Room for the bodies in flight, in KiB.
    room: Arc<Semaphore>,
    /// Read from the event log, and not in the store yet.
    to_store: Vec<OutboxEntry>,
    /// Delivered or given up, and still in the store.
    to_delete: Vec<(u64, String)>,
    /// When a failed access to the store is retried.
    store_due: Option<Instant>,
    /// The end of the pause that the receiver asked for.
    pause: Option<Instant>,
    /// The event id behind each number in the queue.
    ids: HashMap<u64, String>,
    clock: Clock,
    counters: Arc<WebhookCounters>,
    /// The epoch of the store in which the queue was loaded.
    epoch: u64,
    /// The last delivery failed. Further failures are logged at a lower level.
    failing: bool,
}

/// How an attempt to deliver ended: `None` if the event is not in the store any more.
type Attempt = Result<Option<Outcome>, StoreError>;

/// How many events are stored at a time.
const BATCH: usize = 256;

/// A batch ends after about this many bytes: others wait for the store meanwhile.
const BATCH_BYTES: usize = 256 * 1024;

/// How often the worker checks whether a backup replaced the store.
const EPOCH_CHECK: Duration = Duration::from_secs(1);

/// How long to wait after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Why a worker has stopped.
#[derive(PartialEq, Eq)]
enum Stopped {
    /// The receiver answered 410 Gone.
    Gone,
    /// The server has ended.
    Ended,
}

/// Waits until the server has ended.
async fn end_of(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

impl Worker {
    pub(super) fn new(
        webhook: &Webhook,
        store: Arc<dyn OutboxStore>,
        events: &EventLog,
        clock: Clock,
        counters: Arc<WebhookCounters>,
    ) -> Result<Self, ServerError> {
        let devices = webhook.devices.clone().into_iter().collect();
        let filter = Filter::new(devices, &webhook.kinds);
        Ok(Self {
            webhook: webhook.clone(),
            store,
            // From now on. What an earlier run left is in the store.
            events: Reader::follow(events, None, filter),
            receiver: Receiver::new(webhook, webhook.signing_secret()?)?,
            queue: DeliveryQueue::default(),
            ids: HashMap::new(),
            epoch: 0,
            in_flight: JoinSet::new(),
            room: Arc::new(Semaphore::new(
                kib(webhook.in_flight_bytes).try_into().unwrap_or(Semaphore::MAX_PERMITS),
            )),
            to_store: Vec::new(),
            to_delete: Vec::new(),
            store_due: None,
            pause: None,
            clock,
            counters,
            failing: false,
        })
    }

    /// Delivers until the receiver answers 410 Gone or the server has ended. Then the last events are
    /// stored, for the next start.
    pub(super) async fn run_until(mut self, mut ended: watch::Receiver<bool>) {
        if self.run(&mut ended).await == Stopped::Gone {
            return;
        }
        loop {
            self.drain().await;
            if self.to_store.is_empty() {
                return;
            }
            self.persist().await;
            if !self.to_store.is_empty() {
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }

    /// Stops only between two steps: a call of the store whose result no one awaits may have been executed, and its
    /// events would be stored twice.
    async fn run(&mut self, ended: &mut watch::Receiver<bool>) -> Stopped {
        self.load(ended).await;
        loop {
            if self.store.epoch() != self.epoch {
                // A backup may have been restored, where the numbers belong to other events.
                self.in_flight = JoinSet::new();
                self.queue = DeliveryQueue::default();
                self.ids.clear();
                self.load(ended).await;
            }
            // Also at the start: the configured limits may be lower than in the last run.
            self.enforce_limits().await;
            self.send();
            self.counters.pending.store(self.queue.len() as u64, Ordering::Relaxed);
            self.counters.pending_bytes.store(self.queue.bytes(), Ordering::Relaxed);
            let now = Instant::now();
            let due = [self.queue.next_due(), self.store_due, self.pause];
            // A time that has passed does not count: what it delayed waits for something else now.
            let due = due.into_iter().flatten().filter(|due| *due > now);
            let due = due.fold(now + EPOCH_CHECK, Instant::min);
            // In random order, so that neither old nor new events starve the others.
            tokio::select! {
                () = end_of(ended) => return Stopped::Ended,
                Some(joined) = self.in_flight.join_next() => {
                    // After a panic its lane stops until the next start, which tries again.
                    let Ok((delivery, attempt)) = joined else { continue };
                    if !self.complete(delivery, attempt).await {
                        return Stopped::Gone;
                    }
                }
                item = self.events.next(), if self.to_store.is_empty() => {
                    self.accept(item);
                    self.drain().await;
                    self.persist().await;
                }
                () = tokio::time::sleep_until(due) => {
                    if self.store_due.is_some_and(|due| due <= Instant::now()) {
                        self.persist().await;
                        self.delete().await;
                    }
                }
            }
        }
    }

    /// Loads what an earlier run of the server has left, unless the server ends while the store fails.
    async fn load(&mut self, ended: &mut watch::Receiver<bool>) {
        loop {
            // Before reading: a backup that is restored meanwhile is loaded the next time.
            self.epoch = self.store.epoch();
            match self.store.outbox(&self.webhook.name).await {
                Ok(mut left) => {
                    let deleted: HashSet<_> = self.to_delete.iter().cloned().collect();
                    left.retain(|item| !deleted.contains(&(item.sequence, item.event.clone())));
                    let since = Instant::now();
                    for OutboxItem { sequence, lane, event, bytes, at } in left {
                        self.ids.insert(sequence, event);
                        self.queue.push(&lane, Pending { sequence, bytes, at, since });
                    }
                    return;
                }
                Err(error) => {
                    let webhook = &self.webhook.name;
                    tracing::warn!(webhook, %error, "cannot load pending webhook events, will retry");
                    if tokio::time::timeout(STORE_RETRY, end_of(ended)).await.is_ok() {
                        return;
                    }
                }
            }
        }
    }

    /// Sends as many events as may be in flight.
    fn send(&mut self) {
        if self.pause.is_some_and(|until| until > Instant::now()) {
            return;
        }
        self.pause = None;
        while self.in_flight.len() < self.webhook.concurrency {
            let Some(bytes) = self.queue.next_bytes(Instant::now()) else { return };
            // A body that is bigger than the room goes alone.
            let room = kib(bytes).min(kib(self.webhook.in_flight_bytes));
            let Ok(room) = self.room.clone().try_acquire_many_owned(room) else { return };
            let Some(delivery) = self.queue.pop(Instant::now()) else { return };
            let (store, receiver) = (self.store.clone(), self.receiver.clone());
            let (webhook, clock) = (self.webhook.name.clone(), self.clock.clone());
            self.in_flight.spawn(async move {
                let attempt = match store.outbox_body(&webhook, delivery.sequence).await {
                    Ok(Some(OutboxEntry { event, body, .. })) => {
                        Ok(Some(receiver.deliver(&event, clock.now(), body).await))
                    }
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                };
                drop(room);
                (delivery, attempt)
            });
        }
    }

    /// Handles the end of an attempt. Returns false if nothing may be delivered any more.
    async fn complete(&mut self, delivery: Delivery, attempt: Attempt) -> bool {
        let webhook = &self.webhook.name;
        let (error, receiver_failed) = match attempt {
            Ok(Some(Outcome::Accepted)) => {
                self.counters.delivered.inc();
                if std::mem::take(&mut self.failing) {
                    tracing::info!(webhook, "webhook deliveries succeed again");
                }
                self.remove(&delivery).await;
                return true;
            }
            Ok(None) => {
                self.ids.remove(&delivery.sequence);
                self.queue.done(&delivery.lane);
                return true;
            }
            Ok(Some(Outcome::Gone)) => {
                let message =
                    "webhook receiver answered 410 Gone, nothing is delivered until the next start";
                tracing::error!(webhook, "{message}");
                return false;
            }
            Ok(Some(Outcome::Failed { error, retry_after })) => {
                self.counters.failed.inc();
                if let Some(wait) = retry_after {
                    self.pause = self.pause.max(Some(Instant::now() + wait));
                }
                (error, true)
            }
            Err(error) => (error.to_string(), false),
        };
        if self.is_too_old(&delivery) {
            self.counters.dropped.inc();
            let lane = &*delivery.lane;
            tracing::warn!(
                webhook,
                lane,
                error,
                "webhook delivery failed for too long, dropped the event"
            );
            self.remove(&delivery).await;
            return true;
        }
        let delay = if receiver_failed {
            self.queue.failed(&delivery.lane, Instant::now(), rand::random())
        } else {
            self.queue.hold(&delivery.lane, Instant::now() + STORE_RETRY);
            STORE_RETRY
        };
        let retry_in_ms = delay.as_millis();
        if std::mem::replace(&mut self.failing, true) {
            tracing::debug!(webhook, error, retry_in_ms, "webhook delivery failed, will retry");
        } else {
            tracing::warn!(webhook, error, retry_in_ms, "webhook delivery failed, will retry");
        }
        true
    }

    /// Whether an event is older than `max_age`: by the wall clock only while that can be trusted, and by
    /// the time for which this process has tried in any case.
    fn is_too_old(&self, delivery: &Delivery) -> bool {
        let age = Duration::from_secs(self.clock.now().saturating_sub(delivery.at));
        let max = self.webhook.max_age;
        delivery.since.elapsed() > max || (age > max && self.clock.is_trusted())
    }

    /// Removes an event from the queue and the store.
    async fn remove(&mut self, delivery: &Delivery) {
        self.queue.done(&delivery.lane);
        self.mark_deleted(&[delivery.sequence]);
        self.delete().await;
    }

    /// Deletes delivered and dropped events from the store, and retries later if that fails. If the server
    /// ends before the retry, they are delivered once more after the next start.
    async fn delete(&mut self) {
        if self.to_delete.is_empty() {
            return;
        }
        let webhook = &self.webhook.name;
        match self.store.outbox_remove(webhook, self.to_delete.clone()).await {
            Ok(()) => self.to_delete.clear(),
            Err(error) => {
                tracing::warn!(webhook, %error, "cannot delete webhook events from the store, will retry");
                self.store_due = Some(Instant::now() + STORE_RETRY);
            }
        }
    }

    /// Reads what the event log has already.
    async fn drain(&mut self) {
        let bytes =
            |stored: &[OutboxEntry]| stored.iter().map(|entry| entry.body.len()).sum::<usize>();
        while self.to_store.len() < BATCH && bytes(&self.to_store) < BATCH_BYTES {
            let Some(item) = self.events.ready().await else { break };
            self.accept(item);
        }
    }

    /// Stores the events that were read from the log. While that fails, the log keeps further ones, within
    /// its bounds.
    async fn persist(&mut self) {
        if self.to_store.is_empty() {
            return;
        }
        let (webhook, now) = (&self.webhook.name, self.clock.now());
        match self.store.outbox_add(webhook, self.to_store.clone(), now).await {
            Ok(numbers) => {
                let since = Instant::now();
                for (entry, sequence) in self.to_store.drain(..).zip(numbers) {
                    let bytes = entry.stored_bytes();
                    self.ids.insert(sequence, entry.event);
                    self.queue.push(&entry.lane, Pending { sequence, bytes, at: now, since });
                }
            }
            Err(error) => {
                tracing::warn!(webhook, %error, "cannot store webhook events, will retry");
                self.store_due = Some(Instant::now() + STORE_RETRY);
            }
        }
    }

    /// Marks events as to be deleted from the store.
    fn mark_deleted(&mut self, sequences: &[u64]) {
        let ids = &mut self.ids;
        let event = |sequence: &u64| Some((*sequence, ids.remove(sequence)?));
        self.to_delete.extend(sequences.iter().filter_map(event));
    }

    fn accept(&mut self, item: Item) {
        match item {
            Item::Event(entry) => {
                // A refused client may have claimed any device id: that device's events don't wait for it.
                let device = entry.event.device.as_ref();
                let device = device.filter(|_| entry.event.kind() != EventKind::Refused);
                let lane = device.map(ToString::to_string).unwrap_or_default();
                self.to_store.push(OutboxEntry { lane, event: entry.id(), body: entry.json() });
            }
            Item::Gap { .. } => {
                self.counters.dropped.inc();
                let webhook = &self.webhook.name;
                tracing::warn!(webhook, "the event log overflowed, some events are not delivered");
            }
        }
    }

    /// Drops the oldest events above the configured limits.
    async fn enforce_limits(&mut self) {
        let mut sequences = Vec::new();
        let Webhook { keep, keep_bytes, name: webhook, .. } = &self.webhook;
        while self.queue.len() > *keep || self.queue.bytes() > *keep_bytes {
            let Some(sequence) = self.queue.drop_oldest() else { break };
            sequences.push(sequence);
        }
        if sequences.is_empty() {
            return;
        }
        let dropped = sequences.len();
        self.counters.dropped.inc_by(dropped as u64);
        tracing::warn!(webhook, dropped, "too many pending webhook events, dropped the oldest");
        self.mark_deleted(&sequences);
        self.delete().await;
    }
}

/// In KiB, at least 1 and at most what a semaphore takes at once.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}
