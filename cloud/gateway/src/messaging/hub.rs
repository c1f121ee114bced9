//! How a program reaches its devices: messages, topics, presence.

mod certificates;
mod draining;
mod requests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fedecks_protocol::{CloseCode, CloseReason, DeviceId, Dialect, DownFrame, Limits, TermError};
use fedecks_store::BoxFuture;
use serde::Serialize;

use crate::auth::certificate::LiveCertificates;
use crate::auth::device::AuthenticatedDevice;
use crate::byte_pool::BytePool;
use crate::connection::mailbox::{self, Bounds, CloseCommand, Item, Mailbox};
use crate::connection::registry::{ConnectionHandle, Heard, Registry};
use crate::messaging::backplane::{Backplane, BackplaneError, DeliverError, Node, Payload};
use crate::messaging::down::DeviceQueue;
use crate::messaging::message::{Message, Topic};
use crate::messaging::presence::{ConnectionId, ConnectionIds, NodeId, Presence, PresenceWatch};
use crate::messaging::request::RequestError;
use crate::messaging::stats::{Counters, HubStats};
use crate::messaging::topics::{Subscriber, Topics};

/// Reaches the devices from your program: messages, topics, presence. Clones share one hub.
///
/// ```no_run
/// # async fn example(hub: fedecks_cloud::Hub) -> Result<(), Box<dyn std::error::Error>> {
/// use fedecks_cloud::DeviceId;
/// use fedecks_cloud::messaging::TopicEvent;
///
/// hub.send(&DeviceId::new("kitchen-1")?, &("fan", true)).await?;
/// let mut news = hub.subscribe("news");
/// hub.publish("news", "hello").await?;
/// while let Some(event) = news.next().await {
///     match event {
///         TopicEvent::Message(published) => println!("{}", published.message.parse::<String>()?),
///         event => eprintln!("{event}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

/// Why a value was not sent to a device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The value cannot be represented as a [`Term`](crate::Term).
    #[error("the value cannot be sent: {0}")]
    Value(#[from] TermError),
    /// It was not delivered.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
}

/// Why a value was not published.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The value cannot be represented as a [`Term`](crate::Term).
    #[error("the value cannot be published: {0}")]
    Value(#[from] TermError),
    /// Other nodes cannot be reached.
    #[error(transparent)]
    Backplane(#[from] BackplaneError),
}

/// The options that concern a hub.
#[derive(Debug, Clone)]
pub(crate) struct HubOptions {
    /// Of messages to devices.
    pub(crate) limits: Limits,
    pub(crate) queue: Bounds,
    /// What all sessions share, see [`Options`](crate::Options).
    pub(crate) incoming: Arc<BytePool>,
    pub(crate) outgoing: Arc<BytePool>,
    /// `None` if no messages are kept for devices.
    pub(crate) device_queue: Option<Arc<DeviceQueue>>,
}

pub(crate) struct Inner {
    ids: ConnectionIds,
    options: HubOptions,
    registry: Registry,
    certificates: LiveCertificates,
    topics: Topics,
    backplane: Arc<dyn Backplane>,
    draining: AtomicBool,
    refuses_new: AtomicBool,
    pub(crate) counters: Counters,
}

impl Hub {
    pub(crate) fn new(node: NodeId, options: HubOptions, backplane: Arc<dyn Backplane>) -> Self {
        let inner = Arc::new(Inner {
            ids: ConnectionIds::new(node),
            options,
            registry: Registry::default(),
            certificates: LiveCertificates::default(),
            topics: Topics::default(),
            backplane,
            draining: AtomicBool::new(false),
            refuses_new: AtomicBool::new(false),
            counters: Counters::default(),
        });
        let weak: Weak<Inner> = Arc::downgrade(&inner);
        inner.backplane.join(node, weak);
        Self(inner)
    }

    /// Sends any serializable value to a device, on whichever node it is connected. `Ok` means that the message is
    /// in the device's queue; it is lost if the connection breaks before it is sent.
    ///
    /// A queue fills up when the device reads slower than you send. If it is full and the device has not
    /// read anything for 5 seconds, the session is closed with 1013.
    pub async fn send<T: Serialize + ?Sized>(
        &self,
        device: &DeviceId,
        value: &T,
    ) -> Result<(), SendError> {
        Ok(self.send_message(device, &Message::new(value)?).await?)
    }

    /// Sends a message that you use more than once, for example for several devices. Otherwise like [`Hub::send`].
    pub async fn send_message(
        &self,
        device: &DeviceId,
        message: &Message,
    ) -> Result<(), DeliverError> {
        self.deliver(device, &Payload::Message(message.clone())).await
    }

    /// Sends raw bytes to a device. Otherwise like [`Hub::send`].
    pub async fn send_raw(
        &self,
        device: &DeviceId,
        bytes: impl Into<Bytes>,
    ) -> Result<(), DeliverError> {
        self.deliver(device, &Payload::Raw(bytes.into())).await
    }

    /// Publishes any serializable value to every session of the topic and every
    /// [`Subscription`](crate::messaging::Subscription), on every node. The
    /// handler decides what a session sends to its device. A session whose queue is full, or for whose queue there
    /// is no memory, is closed with 1013, because it would otherwise miss the message without knowing.
    pub async fn publish<T: Serialize + ?Sized>(
        &self,
        topic: impl Into<Topic>,
        value: &T,
    ) -> Result<(), PublishError> {
        Ok(self.publish_message(topic, &Message::new(value)?).await?)
    }

    /// Publishes a message without a copy of it. Otherwise like [`Hub::publish`].
    pub async fn publish_message(
        &self,
        topic: impl Into<Topic>,
        message: &Message,
    ) -> Result<(), BackplaneError> {
        self.0.backplane.publish(&topic.into(), message).await
    }

    /// Closes a device's connection, after sending what is in its queue; returns false if it is not
    /// connected. The device reconnects unless the close code tells it not to.
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

    /// The devices that are connected, on all nodes, in no order.
    pub async fn list(&self) -> Result<Vec<Arc<Presence>>, BackplaneError> {
        self.0.backplane.list().await
    }

    /// How many devices are connected, on all nodes. Takes the same time for any number.
    pub fn connected(&self) -> usize {
        self.0.backplane.connected()
    }

    /// The presence of a device that is connected, to whichever node.
    pub async fn find(&self, device: &DeviceId) -> Result<Option<Arc<Presence>>, BackplaneError> {
        self.0.backplane.find(device).await
    }

    /// Whether a device is connected, to whichever node.
    pub async fn is_connected(&self, device: &DeviceId) -> Result<bool, BackplaneError> {
        Ok(self.find(device).await?.is_some())
    }

    /// The devices that are connected, on all nodes, followed by every change.
    pub async fn watch(&self) -> Result<PresenceWatch, BackplaneError> {
        self.0.backplane.watch().await
    }

    /// The id of this node in the cluster.
    pub fn node(&self) -> NodeId {
        self.0.ids.node()
    }

    /// What this node has counted.
    pub fn stats(&self) -> HubStats {
        let HubOptions { incoming, outgoing, .. } = &self.0.options;
        HubStats {
            connected: self.0.registry.len(),
            received_bytes_held: incoming.used() as u64,
            queued_bytes_held: outgoing.used() as u64,
            ..self.0.counters.snapshot()
        }
    }

    /// Registers the connection of an authenticated device. An older connection of it is closed as
    /// replaced.
    pub(crate) async fn register(&self, device: AuthenticatedDevice) -> Arc<ConnectionHandle> {
        // The older connection may be on a node whose clock is ahead of ours.
        match self.0.backplane.find(device.device()).await {
            Ok(Some(older)) => self.0.ids.observe(older.connection),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot look up other connections of the device"),
        }
        let id = self.0.ids.next(SystemTime::now());
        let connection = Arc::new(ConnectionHandle {
            presence: Arc::new(Presence { device: device.device().clone(), connection: id }),
            dialect: device.dialect(),
            generation: device.generation(),
            authenticated_by: device.by(),
            peer: device.peer(),
            mailbox: Mailbox::default(),
            heard: Heard::default(),
        });
        self.0.registry.insert(&connection);
        self.0.backplane.register(&connection.presence);
        self.watch_certificate(&connection, device.certificate());
        // Register first, then check for draining; otherwise a drain could miss this connection.
        if self.is_draining() {
            connection.mailbox.end_session(CloseCommand::restart(Duration::ZERO));
        }
        connection
    }

    /// Removes a connection.
    pub(crate) fn unregister(&self, connection: &ConnectionHandle) {
        self.close_mailbox(connection);
        self.0.registry.remove(connection);
        self.0.certificates.remove(connection.id());
        self.0.backplane.unregister(&connection.presence);
    }

    /// Accepts nothing more for a connection, and returns what waits for it.
    pub(crate) fn close_mailbox(&self, connection: &ConnectionHandle) -> Vec<Item> {
        connection.mailbox.close(&self.0.options.outgoing)
    }

    pub(crate) fn add_subscriber(&self, topic: &Topic, subscriber: Subscriber) {
        let first = || self.0.backplane.subscribe(self.node(), topic);
        self.0.topics.subscribe(topic, subscriber, first);
    }

    pub(crate) fn remove_subscriber(&self, topic: &Topic, subscriber: &Subscriber) {
        let last = || self.0.backplane.unsubscribe(self.node(), topic);
        self.0.topics.unsubscribe(topic, subscriber, last);
    }

    /// The connection of a device to this node.
    pub(crate) fn local(&self, device: &DeviceId) -> Option<Arc<ConnectionHandle>> {
        self.0.registry.get(device)
    }

    /// The connections to this node.
    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// What backs [`Hub::send_kept`]; `None` if nothing does.
    pub(crate) fn device_queue(&self) -> Option<&Arc<DeviceQueue>> {
        self.0.options.device_queue.as_ref()
    }

    pub(crate) fn outgoing(&self) -> &Arc<BytePool> {
        &self.0.options.outgoing
    }

    /// The limits of messages to devices.
    pub(crate) fn limits(&self) -> Limits {
        self.0.options.limits
    }

    pub(crate) fn backplane(&self) -> &dyn Backplane {
        &*self.0.backplane
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn downgrade(&self) -> WeakHub {
        WeakHub(Arc::downgrade(&self.0))
    }

    /// Sends any serializable value on one connection to this node.
    pub(crate) fn send_on<T: Serialize + ?Sized>(
        &self,
        connection: &ConnectionHandle,
        value: &T,
    ) -> Result<(), SendError> {
        Ok(self.0.deliver_on(connection, &Payload::Message(Message::new(value)?))?)
    }

    async fn deliver(&self, device: &DeviceId, payload: &Payload) -> Result<(), DeliverError> {
        match self.0.deliver(device, payload) {
            Err(DeliverError::NotConnected) => self.0.backplane.deliver(device, payload).await,
            here => here,
        }
    }
}

/// A weak reference to a hub.
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

impl Node for Inner {
    fn published(&self, topic: &Topic, message: &Message) {
        let HubOptions { queue, outgoing, .. } = &self.options;
        let overflowed = self.topics.publish(topic, message, queue, outgoing);
        self.counters.queue_full.fetch_add(overflowed, Ordering::Relaxed);
    }

    fn deliver(&self, device: &DeviceId, payload: &Payload) -> Result<(), DeliverError> {
        let connection = self.registry.get(device).ok_or(DeliverError::NotConnected)?;
        self.deliver_on(&connection, payload)
    }

    fn close(&self, device: &DeviceId, reason: CloseReason) -> bool {
        let connection = self.registry.get(device);
        connection
            .is_some_and(|connection| connection.mailbox.end_session(CloseCommand::Close(reason)))
    }

    fn wake(&self, device: &DeviceId) {
        if let Some(connection) = self.registry.get(device) {
            connection.mailbox.wake_for_kept();
        }
    }

    fn wake_all(&self) {
        for connection in self.registry.all() {
            connection.mailbox.wake_for_kept();
        }
    }

    fn on_newer_connection(&self, newer: &Presence) {
        self.ids.observe(newer.connection);
        if let Some(connection) = self.registry.get(&newer.device) {
            if connection.id() < newer.connection {
                connection.close(CloseCode::Replaced);
                // What rang here for the older one was meant for this one.
                self.backplane.wake(&newer.device);
            }
        }
    }

    fn observe(&self, newest: ConnectionId) {
        self.ids.observe(newest);
    }

    fn ask<'a>(
        &'a self,
        device: &'a DeviceId,
        question: &'a fedecks_protocol::Term,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<fedecks_protocol::Term, RequestError>> {
        Box::pin(self.ask_here(device, question, timeout))
    }
}

impl Inner {
    fn deliver_on(
        &self,
        connection: &ConnectionHandle,
        payload: &Payload,
    ) -> Result<(), DeliverError> {
        let frame = match payload {
            Payload::Message(message) => message.frame(connection.dialect, &self.options.limits)?,
            Payload::Raw(bytes) => raw_frame(bytes, connection.dialect, &self.options.limits)?,
        };
        let HubOptions { queue, outgoing, .. } = &self.options;
        let sent = connection.mailbox.send(Item::Frame(frame), queue, outgoing, None);
        sent.map_err(|error| match error {
            mailbox::SendError::Closed => DeliverError::NotConnected,
            mailbox::SendError::Full | mailbox::SendError::NoMemory => {
                self.counters.queue_full.fetch_add(1, Ordering::Relaxed);
                DeliverError::QueueFull
            }
        })
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
    limits: &Limits,
) -> Result<Bytes, fedecks_protocol::EncodeError> {
    let frame = DownFrame::Raw { sequence: None, bytes: bytes.to_vec() };
    dialect.encode_down(&frame, limits).map(Bytes::from)
}
