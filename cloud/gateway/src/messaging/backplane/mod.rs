//! The interface between the nodes of a cluster, which other crates can implement.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub(crate) mod error;
pub(crate) mod in_process;
mod subscribed;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
pub use error::{BackplaneError, DeliverError};
use fedecks_protocol::{CloseReason, DeviceId, Term};
use fedecks_store::BoxFuture;
pub use subscribed::SubscribedNodes;

use crate::messaging::message::{Message, Topic};
use crate::messaging::presence::{ConnectionId, NodeId, Presence, PresenceWatch};
use crate::messaging::request::RequestError;

/// Connects the nodes of a cluster: topics, presence, and messages for devices that are connected to
/// another node.
///
/// A node is one [`Hub`](crate::Hub). Methods that change state (join, subscribe, register and their
/// inverses) return immediately and take effect in the order in which one node calls them: in one process
/// immediately, across a network soon after. No method may block, and all state must be bounded.
pub trait Backplane: Send + Sync + 'static {
    /// Adds a node. It is called until it is dropped or leaves.
    fn join(&self, id: NodeId, node: Weak<dyn Node>);

    /// Removes a node with its subscriptions and the presence of its devices, in order: watchers get
    /// [`PresenceEvent::Left`](crate::messaging::PresenceEvent::Left) for each. Where nodes can be lost, those of a lost
    /// one leave by [`PresenceEvent::NodeLost`](crate::messaging::PresenceEvent::NodeLost) instead, all at once.
    fn leave(&self, id: NodeId);

    /// Subscribes a node to what any node, itself included, publishes on the topic.
    fn subscribe(&self, node: NodeId, topic: &Topic);

    /// The inverse of [`Backplane::subscribe`].
    fn unsubscribe(&self, node: NodeId, topic: &Topic);

    /// Delivers a message to every node that is subscribed to the topic.
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: &'a Message,
    ) -> BoxFuture<'a, Result<(), BackplaneError>>;

    /// Registers a connected device. Of two connections of one device the one with the greater id stays,
    /// whichever was registered first; the node of the other one is notified by
    /// [`Node::on_newer_connection`].
    fn register(&self, presence: &Arc<Presence>);

    /// Unregisters a connection that has ended, unless a newer one of the device has replaced it.
    fn unregister(&self, presence: &Arc<Presence>);

    /// The presence of one device.
    fn find<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Presence>>, BackplaneError>>;

    /// All devices that are connected, in no order.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<Presence>>, BackplaneError>>;

    /// How many devices are connected, on all nodes, as far as this one knows. Takes the same time for any number.
    fn connected(&self) -> usize;

    /// All devices that are connected, followed by every change without a gap.
    fn watch(&self) -> BoxFuture<'_, Result<PresenceWatch, BackplaneError>>;

    /// Delivers a message to the node of the device, and returns the result.
    fn deliver<'a>(
        &'a self,
        device: &'a DeviceId,
        payload: &'a Payload,
    ) -> BoxFuture<'a, Result<(), DeliverError>>;

    /// Tells the node of a device, if it has one, that messages wait for it in the store, by [`Node::wake`]. By default
    /// it does nothing: the device then gets them when it connects, or with the next one that its own node queues.
    fn wake(&self, device: &DeviceId) {
        let _ = device;
    }

    /// Closes the device's connection on whichever node; returns false if there is none.
    fn close<'a>(
        &'a self,
        device: &'a DeviceId,
        reason: CloseReason,
    ) -> BoxFuture<'a, Result<bool, BackplaneError>>;

    /// Asks the device on whichever node, by [`Node::ask`]. Dropping the future cancels the request. By default it
    /// reaches no other nodes: a device that is connected there is [`RequestError::NotHere`].
    fn ask<'a>(
        &'a self,
        device: &'a DeviceId,
        question: &'a Term,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Term, RequestError>> {
        let _ = (question, timeout);
        Box::pin(async move {
            Err(match self.find(device).await? {
                Some(_) => RequestError::NotHere,
                None => RequestError::NotConnected,
            })
        })
    }
}

/// A node, as the backplane calls it. No method blocks.
pub trait Node: Send + Sync + 'static {
    /// A message was published on a topic that the node is subscribed to.
    fn published(&self, topic: &Topic, message: &Message);

    /// Delivers a message to a device that should be connected to this node.
    fn deliver(&self, device: &DeviceId, payload: &Payload) -> Result<(), DeliverError>;

    /// Messages wait in the store for a device that should be connected to this node.
    fn wake(&self, device: &DeviceId);

    /// Calls of [`Node::wake`] may have been lost: looks for messages of all devices that are connected to this node. By
    /// default it does nothing.
    fn wake_all(&self) {}

    /// Closes the device's connection; returns false if there is none.
    fn close(&self, device: &DeviceId, reason: CloseReason) -> bool;

    /// A device has a newer connection, to this node or another one: closes older ones.
    fn on_newer_connection(&self, newer: &Presence);

    /// There are connections to other nodes with ids up to this one: later ones of this node get greater ids. By
    /// default it does nothing.
    fn observe(&self, newest: ConnectionId) {
        let _ = newest;
    }

    /// Asks a device that should be connected to this node. Dropping the future cancels the request.
    fn ask<'a>(
        &'a self,
        device: &'a DeviceId,
        question: &'a Term,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Term, RequestError>>;
}

/// A message for a device.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Payload {
    /// A term.
    Message(Message),
    /// Bytes.
    Raw(Bytes),
}
