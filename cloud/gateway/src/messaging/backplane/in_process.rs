//! A backplane for nodes in one process, or for a single one.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fedecks_protocol::{CloseReason, DeviceId, Term};
use fedecks_store::BoxFuture;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::{Backplane, BackplaneError, DeliverError, Node, Payload, SubscribedNodes};
use crate::messaging::message::{Message, Topic};
use crate::messaging::presence::{
    ByDevice, LostNode, NodeId, Presence, PresenceEvent, PresenceEvents, PresenceWatch,
};
use crate::messaging::request::RequestError;

/// The backplane of one process: usually for a single [`Hub`](crate::Hub), or for several that share it.
#[derive(Debug, Default)]
pub struct InProcess {
    state: Mutex<State>,
    /// Sent to while the state is locked, so that events are in the order of the changes.
    events: PresenceEvents,
}

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<NodeId, Weak<dyn Node>, RandomState>,
    topics: SubscribedNodes,
    presence: HashSet<ByDevice<Presence>, RandomState>,
}

impl InProcess {
    /// A backplane without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes a node as if its machine had died, for tests.
    pub fn lose(&self, id: NodeId) {
        let mut state = self.state.lock();
        let devices = state.remove(id);
        self.events.send(PresenceEvent::NodeLost(Arc::new(LostNode::new(id, devices))));
    }

    /// The node that the device is connected to.
    fn node_of(&self, device: &DeviceId) -> Option<Arc<dyn Node>> {
        let state = self.state.lock();
        let node = state.presence.get(device)?.0.connection.node();
        state.nodes.get(&node)?.upgrade()
    }
}

impl Backplane for InProcess {
    fn join(&self, id: NodeId, node: Weak<dyn Node>) {
        self.state.lock().nodes.insert(id, node);
    }

    fn leave(&self, id: NodeId) {
        let mut state = self.state.lock();
        for presence in state.remove(id) {
            self.events.send(PresenceEvent::Left(presence));
        }
    }

    fn subscribe(&self, node: NodeId, topic: &Topic) {
        let mut state = self.state.lock();
        state.topics.subscribe(node, topic);
    }

    fn unsubscribe(&self, node: NodeId, topic: &Topic) {
        let mut state = self.state.lock();
        state.topics.unsubscribe(node, topic);
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: &'a Message,
    ) -> BoxFuture<'a, Result<(), BackplaneError>> {
        let nodes: Vec<_> = {
            let state = self.state.lock();
            let node = |id| state.nodes.get(id).and_then(Weak::upgrade);
            state.topics.nodes(topic).iter().filter_map(node).collect()
        };
        for node in nodes {
            node.published(topic, message);
        }
        Box::pin(ready(Ok(())))
    }

    fn register(&self, presence: &Arc<Presence>) {
        let (node, newest) = {
            let mut state = self.state.lock();
            let (older, newest) = match state.presence.replace(ByDevice(presence.clone())) {
                // Seldom, so that only then the device is looked up twice.
                Some(ByDevice(newer)) if newer.connection > presence.connection => {
                    state.presence.replace(ByDevice(newer.clone()));
                    (Some(presence.clone()), newer)
                }
                older => {
                    self.events.send(PresenceEvent::Arrived(presence.clone()));
                    (older.map(|ByDevice(older)| older), presence.clone())
                }
            };
            let node = older.and_then(|older| state.nodes.get(&older.connection.node()).cloned());
            (node, newest)
        };
        if let Some(node) = node.and_then(|node| node.upgrade()) {
            node.on_newer_connection(&newest);
        }
    }

    fn unregister(&self, presence: &Arc<Presence>) {
        let mut state = self.state.lock();
        match state.presence.take(&presence.device) {
            Some(ByDevice(current)) if current.connection == presence.connection => {
                self.events.send(PresenceEvent::Left(presence.clone()));
            }
            other => state.presence.extend(other),
        }
    }

    fn find<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Presence>>, BackplaneError>> {
        let found =
            self.state.lock().presence.get(device).map(|ByDevice(presence)| presence.clone());
        Box::pin(ready(Ok(found)))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<Presence>>, BackplaneError>> {
        Box::pin(ready(Ok(self.state.lock().all())))
    }

    fn connected(&self) -> usize {
        self.state.lock().presence.len()
    }

    fn watch(&self) -> BoxFuture<'_, Result<PresenceWatch, BackplaneError>> {
        let state = self.state.lock();
        let watch = self.events.watch(state.all());
        Box::pin(ready(Ok(watch)))
    }

    fn deliver<'a>(
        &'a self,
        device: &'a DeviceId,
        payload: &'a Payload,
    ) -> BoxFuture<'a, Result<(), DeliverError>> {
        let delivered = match self.node_of(device) {
            Some(node) => node.deliver(device, payload),
            None => Err(DeliverError::NotConnected),
        };
        Box::pin(ready(delivered))
    }

    fn wake(&self, device: &DeviceId) {
        if let Some(node) = self.node_of(device) {
            node.wake(device);
        }
    }

    fn close<'a>(
        &'a self,
        device: &'a DeviceId,
        reason: CloseReason,
    ) -> BoxFuture<'a, Result<bool, BackplaneError>> {
        let closed = self.node_of(device).is_some_and(|node| node.close(device, reason));
        Box::pin(ready(Ok(closed)))
    }

    fn ask<'a>(
        &'a self,
        device: &'a DeviceId,
        question: &'a Term,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Term, RequestError>> {
        Box::pin(async move {
            match self.node_of(device) {
                Some(node) => node.ask(device, question, timeout).await,
                None => Err(RequestError::NotConnected),
            }
        })
    }
}

impl State {
    /// Removes a node with its subscriptions; the devices that were connected to it.
    fn remove(&mut self, id: NodeId) -> Vec<Arc<Presence>> {
        self.nodes.remove(&id);
        self.topics.leave(id);
        let mut left = Vec::new();
        self.presence.retain(|ByDevice(presence)| {
            let stays = presence.connection.node() != id;
            if !stays {
                left.push(presence.clone());
            }
            stays
        });
        left
    }

    fn all(&self) -> Vec<Arc<Presence>> {
        self.presence.iter().map(|ByDevice(presence)| presence.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;
    use crate::messaging::presence::EVENT_BACKLOG;

    #[tokio::test]
    async fn in_process_conforms() {
        conformance::check(async || Arc::new(InProcess::new())).await;
    }

    #[tokio::test]
    async fn the_devices_of_a_lost_node_leave_in_one_event() {
        let backplane = InProcess::new();
        let of = |node| conformance::presence(&format!("of-{node}"), node, NodeId(node));
        [1, 2].iter().for_each(|node| backplane.register(&of(*node)));
        let mut watch = backplane.watch().await.unwrap();
        backplane.lose(NodeId(1));
        let lost = LostNode::new(NodeId(1), vec![of(1)]);
        assert_eq!(watch.next().await, Ok(PresenceEvent::NodeLost(Arc::new(lost))));
        assert_eq!(backplane.list().await.unwrap(), [of(2)]);
    }

    #[tokio::test]
    async fn a_lagging_watcher_is_notified_and_the_backlog_is_bounded() {
        let backplane = InProcess::new();
        let mut watch = backplane.watch().await.unwrap();
        for stamp in 0..EVENT_BACKLOG as u64 + 10 {
            backplane.register(&conformance::presence("a", stamp, NodeId(1)));
        }
        assert_eq!(watch.next().await, Err(crate::messaging::presence::WatchEnded::Lagged(10)));
    }
}
