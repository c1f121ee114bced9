//! Kept messages to devices: the API queues and cancels them in the store, and what follows for sessions, events and
//! metrics is done here, even if the caller does not wait for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fedecks_cloud::messaging::backplane::Payload;
use fedecks_cloud::messaging::{KeepDown, SettledMessage};
use fedecks_cloud::{DeviceId, Hub};
use fedecks_protocol::{EncodeError, Lane, Tag};
use fedecks_store::{
    Cancelled, Clock, DeviceQueueStore, DownLimits, DownRecord, DownSize, DownState, DropReason,
    IdempotencyKey, NewDown, Queued, StoreError,
};
use ring::digest::{Context, SHA256};

use crate::metrics::DeviceMessageCounters;

/// Clones share the same queue.
#[derive(Clone)]
pub(crate) struct DeviceMessages {
    pub(crate) store: Arc<dyn DeviceQueueStore>,
    hub: Hub,
    clock: Clock,
    counters: DeviceMessageCounters,
}

/// A message that is to be kept for a device.
pub(crate) struct NewMessage {
    pub(crate) payload: Payload,
    pub(crate) keep: KeepDown,
    /// The caller and its key, to recognize the same request.
    pub(crate) key: Option<(String, String)>,
}

/// Why a message is not kept.
#[derive(Debug)]
pub(crate) enum NotQueued {
    ClockBehind,
    Encode(EncodeError),
    /// It takes this number of bytes, which is more than may wait for a device.
    TooBig(u64),
    /// It takes this number of bytes.
    QueueFull(u64),
    StoreFull,
    /// The key belongs to another request.
    KeyConflict,
    Store(StoreError),
}

/// How much may wait.
pub(crate) fn limits() -> DownLimits {
    DownLimits::default()
}

impl DeviceMessages {
    pub(crate) fn new(
        store: Arc<dyn DeviceQueueStore>,
        hub: Hub,
        clock: Clock,
        counters: DeviceMessageCounters,
    ) -> Self {
        Self { store, hub, clock, counters }
    }

    /// Queues a message, and calls `accepted` before it can arrive, unless the same request was accepted before.
    /// Returns its id.
    pub(crate) async fn queue(
        &self,
        device: DeviceId,
        message: NewMessage,
        accepted: impl FnOnce(Tag) + Send + 'static,
    ) -> Result<Tag, NotQueued> {
        let prepared = self.prepare(&device, message);
        let queued = match prepared {
            Ok((message, key)) => {
                let this = self.clone();
                let queueing = async move { this.store(&device, message, key, accepted).await };
                // The caller may leave, but not between the store and what follows.
                tokio::spawn(queueing).await.unwrap_or_else(|_| Err(NotQueued::Store(closed())))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &queued {
            self.counters.count_refused(error.reason());
        }
        queued
    }

    fn prepare(
        &self,
        device: &DeviceId,
        message: NewMessage,
    ) -> Result<(NewDown, Option<IdempotencyKey>), NotQueued> {
        let NewMessage { payload, keep, key } = message;
        if self.clock.below_floor() {
            return Err(NotQueued::ClockBehind);
        }
        let body = self.hub.encode_kept(&payload).map_err(NotQueued::Encode)?;
        let raw = matches!(payload, Payload::Raw(_));
        let digest = digest(raw, &keep, &body);
        let key = key.map(|(caller, key)| IdempotencyKey { caller, key, digest });
        let KeepDown { lane, expires_in, collapse_key, .. } = keep;
        let at = self.clock.now();
        let expires_at = at.saturating_add(expires_in.as_secs());
        // 0 is not an id.
        let id = Tag(rand::random::<u64>().max(1));
        let message = NewDown { id, lane, raw, body, at, expires_at, collapse_key };
        let bytes = message.stored_bytes(device);
        if bytes > limits().bytes { Err(NotQueued::TooBig(bytes)) } else { Ok((message, key)) }
    }

    async fn store(
        &self,
        device: &DeviceId,
        message: NewDown,
        key: Option<IdempotencyKey>,
        accepted: impl FnOnce(Tag),
    ) -> Result<Tag, NotQueued> {
        let (id, bytes) = (message.id, message.stored_bytes(device));
        let queued = self.store.queue_message(device, message, key, limits()).await;
        match queued.map_err(NotQueued::Store)? {
            Queued::Accepted { replaced } => {
                self.counters.accepted.inc();
                accepted(id);
                self.hub.wake(device);
                let dropped = DownState::Dropped(DropReason::Replaced);
                let replaced: Vec<_> =
                    replaced.into_iter().map(|id| SettledMessage::new(id, dropped)).collect();
                self.hub.settled(device, &replaced);
                Ok(id)
            }
            Queued::Repeated(id) => Ok(id),
            Queued::KeyConflict => Err(NotQueued::KeyConflict),
            Queued::QueueFull => Err(NotQueued::QueueFull(bytes)),
            Queued::StoreFull => Err(NotQueued::StoreFull),
        }
    }

    /// Gives up a message that was not sent, and calls `cancelled` then.
    pub(crate) async fn cancel(
        &self,
        device: DeviceId,
        id: Tag,
        cancelled: impl FnOnce() + Send + 'static,
    ) -> Result<Cancelled, StoreError> {
        let this = self.clone();
        let cancelling = async move {
            let outcome = this.store.cancel_message(&device, id, this.clock.now()).await?;
            if outcome == Cancelled::Dropped {
                cancelled();
                let dropped = DownState::Dropped(DropReason::Cancelled);
                this.hub.settled(&device, &[SettledMessage::new(id, dropped)]);
            }
            Ok(outcome)
        };
        tokio::spawn(cancelling).await.unwrap_or_else(|_| Err(closed()))
    }
}

impl DeviceMessages {
    /// Has messages expire that are due, and tells which.
    pub(crate) async fn expire(&self) -> Result<(), StoreError> {
        while !self.clock.below_floor() {
            let found = self.store.expire_messages(self.clock.now()).await?;
            for of_device in found.messages.chunk_by(|(one, _), (next, _)| one == next) {
                let settled = |(_, id): &(_, Tag)| SettledMessage::new(*id, DownState::Expired);
                let settled: Vec<_> = of_device.iter().map(settled).collect();
                if let Some((device, _)) = of_device.first() {
                    self.hub.settled(device, &settled);
                }
            }
            if !found.more {
                break;
            }
        }
        Ok(())
    }

    /// Reads for the metrics how much waits.
    pub(crate) async fn measure(&self) -> Result<(), StoreError> {
        self.counters.set_waiting(self.store.waiting().await?);
        Ok(())
    }

    /// Another server shows how much waits.
    pub(crate) fn measure_nothing(&self) {
        self.counters.set_waiting(DownSize::default());
    }

    /// Forgets a device, and tells which of its messages were dropped by that.
    pub(crate) async fn forget<T: Send + 'static>(
        &self,
        device: DeviceId,
        forget: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let this = self.clone();
        let forgetting = async move {
            let is_waiting = |state| matches!(state, DownState::Queued | DownState::Sent);
            let waiting = this.ids(&device, is_waiting).await?;
            let forgotten = forget.await?;
            if !waiting.is_empty() {
                let dropped = DownState::Dropped(DropReason::ReRegistered);
                let mut settled = this.ids(&device, |state| state == dropped).await?;
                settled.retain(|id| waiting.contains(id));
                let settled: Vec<_> =
                    settled.into_iter().map(|id| SettledMessage::new(id, dropped)).collect();
                this.hub.settled(&device, &settled);
            }
            Ok(forgotten)
        };
        tokio::spawn(forgetting).await.unwrap_or_else(|_| Err(closed()))
    }

    /// The messages of a device in these states.
    async fn ids(
        &self,
        device: &DeviceId,
        wanted: impl Fn(DownState) -> bool,
    ) -> Result<BTreeSet<Tag>, StoreError> {
        let (mut ids, mut before) = (BTreeSet::new(), None);
        loop {
            let page = self.store.device_messages(device, before, DownRecord::MAX_PAGE).await?;
            before = page.last().map(|last| last.number);
            let found = page.iter().filter(|record| wanted(record.status.state));
            ids.extend(found.map(|record| record.id));
            if page.len() < DownRecord::MAX_PAGE as usize {
                return Ok(ids);
            }
        }
    }
}

impl NotQueued {
    /// In metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::ClockBehind => "clock-behind",
            Self::Encode(_) | Self::TooBig(_) => "too-big",
            Self::QueueFull(_) => "queue-full",
            Self::StoreFull => "store-full",
            Self::KeyConflict => "key-reused",
            Self::Store(_) => "store-failed",
        }
    }
}

/// The runtime ends.
fn closed() -> StoreError {
    StoreError::Closed { location: "of messages to devices".to_owned() }
}

/// The same for the same request.
fn digest(raw: bool, keep: &KeepDown, body: &Bytes) -> [u8; 32] {
    let KeepDown { lane, expires_in, collapse_key, .. } = keep;
    let urgent = *lane == Lane::Urgent;
    let key = collapse_key.as_deref();
    let mut context = Context::new(&SHA256);
    context.update(&[u8::from(raw), u8::from(urgent), u8::from(key.is_some())]);
    context.update(&expires_in.as_secs().to_be_bytes());
    context.update(&(key.map_or(0, str::len) as u64).to_be_bytes());
    context.update(key.unwrap_or_default().as_bytes());
    context.update(body);
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
