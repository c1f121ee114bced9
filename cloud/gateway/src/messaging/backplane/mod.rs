//! What crosses the nodes of a cluster. How it does is up to an implementation.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub(crate) mod in_process;

use std::sync::{Arc, Weak};

use bytes::Bytes;
use fedecks_protocol::{CloseReason, DeviceId, EncodeError};
use fedecks_store::BoxFuture;

use crate::messaging::message::{Message, Topic};
use crate::messaging::presence::{NodeId, Presence, PresenceWatch};

/// What crosses the nodes of a cluster: topics, presence, and messages for a device that is connected
/// to another node.
///
/// A node is one [`Hub`](crate::Hub). What changes something (join, subscribe, announce and their
/// opposites) returns at once and takes effect in the order of the calls of one node; in process that
/// is at once, across a network soon after. Nothing here may block, and nothing may grow without a
/// bound.
pub trait Backplane: Send + Sync + 'static {
    /// Takes a node in. Calls to it end when it is gone or has left.
    fn join(&self, id: NodeId, node: Weak<dyn Node>);

    /// Takes a node out, with its subscriptions and the presence of its devices.
    fn leave(&self, id: NodeId);

    /// From now on the node is told what is published on the topic, by any node including itself.
    fn subscribe(&self, node: NodeId, topic: &Topic);

    /// The opposite of [`Backplane::subscribe`].
    fn unsubscribe(&self, node: NodeId, topic: &Topic);

    /// Hands a message to every node that is subscribed to the topic.
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: &'a Message,
    ) -> BoxFuture<'a, Result<(), BackplaneError>>;

    /// A device is connected. Of two connections of one device the one with the greater id stays:
    /// the node of the other is told by [`Node::taken_over`], whichever was announced first.
    fn announce(&self, presence: &Arc<Presence>);

    /// A connection is over. Does nothing if a newer one of the device has taken its place.
    fn withdraw(&self, presence: &Arc<Presence>);

    /// The presence of one device.
    fn find<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Presence>>, BackplaneError>>;

    /// All devices that are connected, in no order.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<Presence>>, BackplaneError>>;

    /// All devices that are connected, and without a gap what happens from then on.
    fn watch(&self) -> BoxFuture<'_, Result<PresenceWatch, BackplaneError>>;

    /// Hands something to the node that the device is connected to, and tells what came of it.
    fn deliver<'a>(
        &'a self,
        device: &'a DeviceId,
        payload: &'a Payload,
    ) -> BoxFuture<'a, Result<(), DeliverError>>;

    /// Closes the device's connection, whichever node it is at. Whether there was one.
    fn close<'a>(
        &'a self,
        device: &'a DeviceId,
        reason: CloseReason,
    ) -> BoxFuture<'a, Result<bool, BackplaneError>>;
}

/// What a node does when the backplane calls. Every method returns at once.
pub trait Node: Send + Sync + 'static {
    /// Something was published on a topic that the node is subscribed to.
    fn published(&self, topic: &Topic, message: &Message);

    /// Something is for a device that should be connected here.
    fn deliver(&self, device: &DeviceId, payload: &Payload) -> Result<(), DeliverError>;

    /// The device's connection is to be closed. Whether there was one.
    fn close(&self, device: &DeviceId, reason: CloseReason) -> bool;

    /// A device is connected by a newer connection, to this node or another one: older ones have to
    /// end.
    fn taken_over(&self, by: &Presence);
}

/// What is pushed to a device.
#[derive(Debug, Clone)]
pub enum Payload {
    /// A term.
    Message(Message),
    /// Bytes.
    Raw(Bytes),
}

/// Why a device did not get something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// The device is not connected.
    #[error("the device is not connected")]
    NotConnected,
    /// So much waits for the device already that no more is taken.
    #[error("the device's queue is full")]
    QueueFull,
    /// It has no frame: it is too big or too deep.
    #[error("the message {0}")]
    Encode(#[from] EncodeError),
    /// The node of the device cannot be reached.
    #[error(transparent)]
    Backplane(#[from] BackplaneError),
}

/// Other nodes cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backplane is not available: {0}")]
pub struct BackplaneError(pub String);
