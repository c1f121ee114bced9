//! The way from a program to its devices: push, topics, presence.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fedecks_protocol::{CloseCode, CloseReason, DeviceId, Dialect, DownFrame, Limits, Term};
use fedecks_store::{Latency, LatencyHistogram};

use crate::auth::device::AuthenticatedDevice;
use crate::connection::mailbox::{Bounds, Item, Mailbox, Order, PutError};
use crate::connection::registry::{Connected, Registry};
use crate::messaging::backplane::{Backplane, BackplaneError, DeliverError, Node, Payload};
use crate::messaging::message::{Info, Message, Topic};
use crate::messaging::presence::{ConnectionIds, NodeId, Presence, PresenceWatch};
use crate::messaging::topics::{Lagged, Outlet, Subscriber, Topics};

/// The way from your program to the devices: push, topics, presence. Clones are the same hub.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

/// A device did not get something; here it is again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct PushError<T> {
    /// What was not pushed.
    pub message: T,
    /// Why not.
    pub why: DeliverError,
}

/// What a program hears of a topic, until this is dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    topic: Topic,
    outlet: Outlet,
}

/// What a node has counted since it began, and how many are connected now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HubStats {
    /// How many devices are connected to this node.
    pub connected: usize,
    /// Messages from devices that were no frame and were ignored.
    pub undecodable: u64,
    /// Sessions that ended because their device read too slowly.
    pub too_slow: u64,
    /// Sessions that ended because a callback of the handler panicked or got stuck.
    pub handler_failures: u64,
    /// Messages that were put on their way to devices, out of their queues or as a handler's reply.
    pub messages_sent: u64,
    /// Messages for devices that were not taken because the device's queue was full.
    pub queue_full: u64,
    /// Bytes that came from devices in their sessions, as WebSocket frames, up to the close handshake;
    /// TLS and TCP take more.
    pub bytes_received: u64,
    /// Bytes that went to devices, counted in the same way.
    pub bytes_sent: u64,
    /// How long callbacks of the handler took, from their call to their end.
    pub handler: LatencyHistogram,
}

/// What a hub has to know of the options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HubOptions {
    pub(crate) max_frame: usize,
    pub(crate) queue: Bounds,
}

pub(crate) struct Inner {
    ids: ConnectionIds,
    options: HubOptions,
    registry: Registry,
    topics: Topics,
    backplane: Arc<dyn Backplane>,
    draining: AtomicBool,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) undecodable: AtomicU64,
    pub(crate) too_slow: AtomicU64,
    pub(crate) handler_failures: AtomicU64,
    pub(crate) messages_sent: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) handler: Latency,
}

/// How many messages of a topic are kept for a program that is busy.
const KEPT_FOR_PROGRAMS: usize = 1024;

/// How long a batch may take to close before the next one is begun.
const BATCH_PATIENCE: Duration = Duration::from_secs(6);

impl Hub {
    pub(crate) fn new(options: HubOptions, backplane: Arc<dyn Backplane>) -> Self {
        let node = NodeId(rand::random());
        let inner = Arc::new(Inner {
            ids: ConnectionIds::new(node),
            options,
            registry: Registry::default(),
            topics: Topics::default(),
            backplane,
            draining: AtomicBool::new(false),
            counters: Counters::default(),
        });
        let weak: Weak<Inner> = Arc::downgrade(&inner);
        inner.backplane.join(node, weak);
        Self(inner)
    }

    /// Sends a term to a device, whichever node it is connected to. `Ok` means that it waits for the
    /// device in a queue; it is lost if the connection breaks before it is sent.
    ///
    /// A queue is only full for as long as its device reads slower than you push. One that has not
    /// read anything for 5 seconds is closed with 1013 when its queue is full.
    pub async fn push(
        &self,
        device: &DeviceId,
        term: impl Into<Term>,
    ) -> Result<(), PushError<Term>> {
        let message = Message::from(term.into());
        let payload = Payload::Message(message.clone());
        let pushed = self.deliver(device, &payload).await;
        drop(payload);
        pushed.map_err(|why| PushError { message: message.into_term(), why })
    }

    /// The same with a message that is used for more than one device, or afterwards.
    pub async fn push_message(
        &self,
        device: &DeviceId,
        message: &Message,
    ) -> Result<(), DeliverError> {
        self.deliver(device, &Payload::Message(message.clone())).await
    }

    /// Sends bytes to a device, as [`Hub::push`] does a term.
    pub async fn push_raw(
        &self,
        device: &DeviceId,
        bytes: impl Into<Bytes>,
    ) -> Result<(), PushError<Bytes>> {
        let bytes = bytes.into();
        let pushed = self.deliver(device, &Payload::Raw(bytes.clone())).await;
        pushed.map_err(|why| PushError { message: bytes, why })
    }

    /// Publishes a term on a topic: every session and every [`Subscription`] of that topic hears of
    /// it, on every node. A session's handler decides what reaches its device. A session whose queue
    /// is full ends with 1013, since it would miss the message without knowing.
    pub async fn publish(
        &self,
        topic: impl Into<Topic>,
        message: impl Into<Message>,
    ) -> Result<(), BackplaneError> {
        self.0.backplane.publish(&topic.into(), &message.into()).await
    }

    /// Subscribes your program to a topic. 1,024 messages are kept while it is busy; then it misses
    /// some, and is told.
    pub fn subscribe(&self, topic: impl Into<Topic>) -> Subscription {
        let topic = topic.into();
        let outlet = Outlet::new(KEPT_FOR_PROGRAMS);
        self.add_subscriber(&topic, outlet.subscriber());
        Subscription { hub: self.clone(), topic, outlet }
    }

    /// Closes a device's connection. Whether there was one. What waits for the device is sent first.
    /// The device comes back unless the reason keeps it away, see the close codes.
    pub async fn disconnect(
        &self,
        device: &DeviceId,
        reason: CloseReason,
    ) -> Result<bool, BackplaneError> {
        if self.0.close(device, reason) {
            return Ok(true);
        }
        self.0.backplane.close(device, reason).await
    }

    /// Closes every connection to this node because the server is about to end, and refuses new ones
    /// with 503. `batch` are closed at a time; each device is asked to come back after a part of
    /// `spread`, evenly spread and at least a second, so that they do not come back all at once.
    /// Returns how many were closed.
    pub async fn drain(&self, batch: usize, spread: Duration) -> usize {
        self.0.draining.store(true, Ordering::SeqCst);
        let connections = self.0.registry.all();
        let count = u32::try_from(connections.len()).unwrap_or(u32::MAX).max(1);
        for (index, chunk) in connections.chunks(batch.max(1)).enumerate() {
            for (place, connected) in chunk.iter().enumerate() {
                let place = u32::try_from(index * batch.max(1) + place).unwrap_or(u32::MAX);
                connected.mailbox.order(Order::Close(restart(spread / count * place)));
            }
            // Whoever does not go in time is left to its own deadline.
            let _ = tokio::time::timeout(BATCH_PATIENCE, self.0.registry.gone(chunk)).await;
        }
        connections.len()
    }

    /// The devices that are connected, on all nodes, in no order.
    pub async fn list(&self) -> Result<Vec<Arc<Presence>>, BackplaneError> {
        self.0.backplane.list().await
    }

    /// A device's presence, if it is connected, to whichever node.
    pub async fn find(&self, device: &DeviceId) -> Result<Option<Arc<Presence>>, BackplaneError> {
        self.0.backplane.find(device).await
    }

    /// Whether a device is connected, to whichever node.
    pub async fn is_connected(&self, device: &DeviceId) -> Result<bool, BackplaneError> {
        Ok(self.find(device).await?.is_some())
    }

    /// All devices that are connected, and what happens to them from then on, on all nodes.
    pub async fn watch(&self) -> Result<PresenceWatch, BackplaneError> {
        self.0.backplane.watch().await
    }

    /// Which node of the cluster this is.
    pub fn node(&self) -> NodeId {
        self.0.ids.node()
    }

    /// What this node has counted.
    pub fn stats(&self) -> HubStats {
        let counters = &self.0.counters;
        HubStats {
            connected: self.0.registry.len(),
            undecodable: counters.undecodable.load(Ordering::Relaxed),
            too_slow: counters.too_slow.load(Ordering::Relaxed),
            handler_failures: counters.handler_failures.load(Ordering::Relaxed),
            messages_sent: counters.messages_sent.load(Ordering::Relaxed),
            queue_full: counters.queue_full.load(Ordering::Relaxed),
            bytes_received: counters.bytes_received.load(Ordering::Relaxed),
            bytes_sent: counters.bytes_sent.load(Ordering::Relaxed),
            handler: counters.handler.snapshot(),
        }
    }

    /// Enters an authenticated device. An older connection of it is told that it was replaced.
    pub(crate) async fn enter(&self, device: AuthenticatedDevice) -> Arc<Connected> {
        // The older connection may be at a node whose clock is ahead of ours.
        match self.0.backplane.find(device.device()).await {
            Ok(Some(older)) => self.0.ids.seen(older.connection),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot see where else the device is connected"),
        }
        let connection = self.0.ids.next(SystemTime::now());
        let connected = Arc::new(Connected {
            presence: Arc::new(Presence { device: device.device().clone(), connection }),
            dialect: device.dialect(),
            generation: device.generation(),
            by: device.by(),
            peer: device.peer(),
            mailbox: Mailbox::default(),
        });
        self.0.registry.enter(&connected);
        self.0.backplane.announce(&connected.presence);
        // After it can be found: whoever drains has either seen it or is seen here.
        if self.0.draining.load(Ordering::SeqCst) {
            connected.mailbox.order(Order::Close(restart(Duration::ZERO)));
        }
        connected
    }

    /// Forgets a connection.
    pub(crate) fn leave(&self, connected: &Connected) {
        connected.mailbox.close();
        self.0.registry.leave(connected);
        self.0.backplane.withdraw(&connected.presence);
    }

    pub(crate) fn add_subscriber(&self, topic: &Topic, subscriber: Subscriber) {
        let first = || self.0.backplane.subscribe(self.node(), topic);
        self.0.topics.subscribe(topic, subscriber, first);
    }

    pub(crate) fn remove_subscriber(&self, topic: &Topic, subscriber: &Subscriber) {
        let last = || self.0.backplane.unsubscribe(self.node(), topic);
        self.0.topics.unsubscribe(topic, subscriber, last);
    }

    /// Closes the device's session if it was let in with a token that is worth nothing any more.
    pub(crate) fn revoked(&self, device: &DeviceId, generation: u64) {
        if let Some(connected) = self.0.registry.get(device) {
            if connected.generation < generation {
                connected.close(CloseCode::Revoked);
            }
        }
    }

    /// Closes the device's session because it is blocked.
    pub(crate) fn blocked(&self, device: &DeviceId) {
        if let Some(connected) = self.0.registry.get(device) {
            connected.close(CloseCode::Blocked);
        }
    }

    /// The devices of this node.
    pub(crate) fn local(&self) -> Vec<Arc<Connected>> {
        self.0.registry.all()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::SeqCst)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn downgrade(&self) -> WeakHub {
        WeakHub(Arc::downgrade(&self.0))
    }

    async fn deliver(&self, device: &DeviceId, payload: &Payload) -> Result<(), DeliverError> {
        match self.0.deliver(device, payload) {
            Err(DeliverError::NotConnected) => self.0.backplane.deliver(device, payload).await,
            here => here,
        }
    }
}

/// A hub for whoever must not keep it.
pub(crate) struct WeakHub(Weak<Inner>);

impl WeakHub {
    pub(crate) fn upgrade(&self) -> Option<Hub> {
        self.0.upgrade().map(Hub)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("node", &self.node()).finish_non_exhaustive()
    }
}

impl Subscription {
    /// What is published next. [`Lagged`] tells how many were not kept because the program was too
    /// slow; the next call goes on after them. Cancel safe.
    pub async fn recv(&mut self) -> Result<Info, Lagged> {
        self.outlet.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.remove_subscriber(&self.topic, &self.outlet.subscriber());
    }
}

impl Node for Inner {
    fn published(&self, topic: &Topic, message: &Message) {
        let overflowed = self.topics.publish(topic, message, &self.options.queue);
        self.counters.queue_full.fetch_add(overflowed, Ordering::Relaxed);
    }

    fn deliver(&self, device: &DeviceId, payload: &Payload) -> Result<(), DeliverError> {
        let connected = self.registry.get(device).ok_or(DeliverError::NotConnected)?;
        let frame = match payload {
            Payload::Message(message) => {
                message.frame(connected.dialect, self.options.max_frame)?
            }
            Payload::Raw(bytes) => raw_frame(bytes, connected.dialect, self.options.max_frame)?,
        };
        let put = connected.mailbox.put(Item::Frame(frame), &self.options.queue);
        put.map_err(|error| match error {
            PutError::Closed => DeliverError::NotConnected,
            PutError::Full => {
                self.counters.queue_full.fetch_add(1, Ordering::Relaxed);
                DeliverError::QueueFull
            }
        })
    }

    fn close(&self, device: &DeviceId, reason: CloseReason) -> bool {
        let connected = self.registry.get(device);
        connected.is_some_and(|connected| connected.mailbox.order(Order::Close(reason)))
    }

    fn taken_over(&self, by: &Presence) {
        self.ids.seen(by.connection);
        if let Some(connected) = self.registry.get(&by.device) {
            if connected.connection() < by.connection {
                connected.close(CloseCode::Replaced);
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.backplane.leave(self.ids.node());
    }
}

pub(crate) fn raw_frame(
    bytes: &[u8],
    dialect: Dialect,
    max_size: usize,
) -> Result<Bytes, fedecks_protocol::EncodeError> {
    let frame = DownFrame::Raw { sequence: None, bytes: bytes.to_vec() };
    let limits = Limits { max_size, ..Limits::default() };
    dialect.encode_down(&frame, &limits).map(Bytes::from)
}

fn restart(delay: Duration) -> CloseReason {
    CloseReason::retry_after(CloseCode::Restart, delay.max(Duration::from_secs(1)))
}
