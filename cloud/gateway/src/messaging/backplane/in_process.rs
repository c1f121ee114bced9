//! A backplane for nodes in one process, or for a single one.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use fedecks_protocol::{CloseReason, DeviceId};
use fedecks_store::BoxFuture;
use tokio::sync::broadcast;

use super::{Backplane, BackplaneError, DeliverError, Node, Payload};
use crate::messaging::message::{Message, Topic};
use crate::messaging::presence::{ByDevice, NodeId, Presence, PresenceEvent, PresenceWatch};

/// The backplane of one process: usually of one [`Hub`](crate::Hub), and of as many as share it.
#[derive(Debug)]
pub struct InProcess {
    state: Mutex<State>,
    events: broadcast::Sender<PresenceEvent>,
}

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<NodeId, Weak<dyn Node>>,
    /// Which nodes are subscribed to a topic: few, so a list will do.
    topics: HashMap<Topic, Vec<NodeId>>,
    presence: HashSet<ByDevice<Presence>>,
}

/// How many events a watcher may lag behind before it loses some.
const EVENTS_KEPT: usize = 4096;

impl InProcess {
    /// A backplane that no node has joined yet.
    pub fn new() -> Self {
        Self { state: Mutex::default(), events: broadcast::Sender::new(EVENTS_KEPT) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that the device is connected to.
    fn node_of(&self, device: &DeviceId) -> Option<Arc<dyn Node>> {
        let state = self.lock();
        let node = state.presence.get(device)?.0.connection.node();
        state.nodes.get(&node)?.upgrade()
    }

    /// Called under the lock, so that events come in the order of what they tell.
    fn tell(&self, event: PresenceEvent) {
        // Nobody watching is no error.
        let _ = self.events.send(event);
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new()
    }
}

impl Backplane for InProcess {
    fn join(&self, id: NodeId, node: Weak<dyn Node>) {
        self.lock().nodes.insert(id, node);
    }

    fn leave(&self, id: NodeId) {
        let mut state = self.lock();
        state.nodes.remove(&id);
        state.topics.retain(|_, nodes| {
            nodes.retain(|node| *node != id);
            !nodes.is_empty()
        });
        state.presence.retain(|ByDevice(presence)| {
            let stays = presence.connection.node() != id;
            if !stays {
                self.tell(PresenceEvent::Left(presence.clone()));
            }
            stays
        });
    }

    fn subscribe(&self, node: NodeId, topic: &Topic) {
        let mut state = self.lock();
        let nodes = state.topics.entry(topic.clone()).or_insert_with(|| Vec::with_capacity(1));
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    fn unsubscribe(&self, node: NodeId, topic: &Topic) {
        let mut state = self.lock();
        if let Some(nodes) = state.topics.get_mut(topic) {
            nodes.retain(|subscribed| *subscribed != node);
            if nodes.is_empty() {
                state.topics.remove(topic);
            }
        }
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: &'a Message,
    ) -> BoxFuture<'a, Result<(), BackplaneError>> {
        let nodes: Vec<_> = {
            let state = self.lock();
            let subscribed = state.topics.get(topic).map_or(&[][..], Vec::as_slice);
            let node = |id| state.nodes.get(id).and_then(Weak::upgrade);
            subscribed.iter().filter_map(node).collect()
        };
        for node in nodes {
            node.published(topic, message);
        }
        Box::pin(ready(Ok(())))
    }

    fn announce(&self, presence: &Arc<Presence>) {
        let (node, newest) = {
            let mut state = self.lock();
            let there = state.presence.get(&presence.device).map(|ByDevice(there)| there.clone());
            let (older, newest) = match there {
                Some(there) if there.connection > presence.connection => {
                    (Some(presence.clone()), there)
                }
                older => {
                    state.presence.replace(ByDevice(presence.clone()));
                    self.tell(PresenceEvent::Arrived(presence.clone()));
                    (older, presence.clone())
                }
            };
            let node = older.and_then(|older| state.nodes.get(&older.connection.node()).cloned());
            (node, newest)
        };
        if let Some(node) = node.and_then(|node| node.upgrade()) {
            node.taken_over(&newest);
        }
    }

    fn withdraw(&self, presence: &Arc<Presence>) {
        let mut state = self.lock();
        let there = state.presence.get(&presence.device);
        if there.is_some_and(|there| there.0.connection == presence.connection) {
            state.presence.remove(&presence.device);
            self.tell(PresenceEvent::Left(presence.clone()));
        }
    }

    fn find<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Presence>>, BackplaneError>> {
        let found = self.lock().presence.get(device).map(|ByDevice(presence)| presence.clone());
        Box::pin(ready(Ok(found)))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<Presence>>, BackplaneError>> {
        Box::pin(ready(Ok(self.lock().all())))
    }

    fn watch(&self) -> BoxFuture<'_, Result<PresenceWatch, BackplaneError>> {
        let state = self.lock();
        let watch = PresenceWatch::new(state.all(), self.events.subscribe());
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

    fn close<'a>(
        &'a self,
        device: &'a DeviceId,
        reason: CloseReason,
    ) -> BoxFuture<'a, Result<bool, BackplaneError>> {
        let closed = self.node_of(device).is_some_and(|node| node.close(device, reason));
        Box::pin(ready(Ok(closed)))
    }
}

impl State {
    fn all(&self) -> Vec<Arc<Presence>> {
        self.presence.iter().map(|ByDevice(presence)| presence.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[tokio::test]
    async fn it_conforms() {
        conformance::check(async || Arc::new(InProcess::new())).await;
    }

    #[tokio::test]
    async fn a_watcher_that_lags_is_told_and_nothing_piles_up() {
        let backplane = InProcess::new();
        let mut watch = backplane.watch().await.unwrap();
        for stamp in 0..EVENTS_KEPT as u64 + 10 {
            backplane.announce(&conformance::presence("a", stamp, NodeId(1)));
        }
        assert_eq!(watch.next().await, Err(crate::messaging::presence::WatchEnded::Lagged(10)));
    }
}
