//! Which nodes of this instance are subscribed to which topics, and which subscriptions NATS should have for them.

use std::collections::{BTreeMap, HashMap};

use data_encoding::HEXLOWER;
use fedecks_cloud::messaging::{NodeId, Topic};
use foldhash::fast::RandomState;
use tokio::task::AbortHandle;

#[derive(Default)]
pub(crate) struct Topics {
    topics: HashMap<Topic, Subscribed, RandomState>,
    /// Those whose subscriptions at NATS may have to change, in the order in which they changed.
    changed: BTreeMap<u64, Topic>,
    last: u64,
}

#[derive(Default)]
struct Subscribed {
    /// There are few, so a list is enough.
    nodes: Vec<NodeId>,
    /// Reads the subscription at NATS.
    reader: Option<AbortHandle>,
    /// Its place among those that have changed.
    place: Option<u64>,
}

/// What to do for a topic.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    Subscribe(Topic),
    Nothing,
}

impl Topics {
    pub(crate) fn subscribe(&mut self, node: NodeId, topic: &Topic) {
        let subscribed = self.topics.entry(topic.clone()).or_default();
        if !subscribed.nodes.contains(&node) {
            subscribed.nodes.push(node);
        }
        if subscribed.reader.is_none() {
            self.changed(topic);
        }
    }

    pub(crate) fn unsubscribe(&mut self, node: NodeId, topic: &Topic) {
        let Some(subscribed) = self.topics.get_mut(topic) else { return };
        subscribed.nodes.retain(|subscribed| *subscribed != node);
        if !subscribed.nodes.is_empty() {
            return;
        }
        if subscribed.reader.is_some() {
            self.changed(topic);
        } else if let Some(place) = self.topics.remove(topic).and_then(|topic| topic.place) {
            // NATS may be away for long: nothing remains of it.
            self.changed.remove(&place);
        }
    }

    pub(crate) fn leave(&mut self, node: NodeId) {
        let topics = self.topics.iter();
        let its = topics.filter(|(_, subscribed)| subscribed.nodes.contains(&node));
        let its: Vec<_> = its.map(|(topic, _)| topic.clone()).collect();
        its.iter().for_each(|topic| self.unsubscribe(node, topic));
    }

    fn changed(&mut self, topic: &Topic) {
        let Some(subscribed) = self.topics.get_mut(topic) else { return };
        if subscribed.place.is_none() {
            self.last += 1;
            subscribed.place = Some(self.last);
            self.changed.insert(self.last, topic.clone());
        }
    }

    pub(crate) fn nodes(&self, topic: &Topic) -> &[NodeId] {
        self.topics.get(topic).map_or(&[], |subscribed| &subscribed.nodes)
    }

    /// The next topic whose subscription at NATS has to change; ends those without nodes.
    pub(crate) fn next_change(&mut self) -> Option<Change> {
        let (_, topic) = self.changed.pop_first()?;
        let Some(subscribed) = self.topics.get_mut(&topic) else { return Some(Change::Nothing) };
        subscribed.place = None;
        if subscribed.nodes.is_empty() {
            if let Some(reader) = subscribed.reader.take() {
                reader.abort();
            }
            self.topics.remove(&topic);
            return Some(Change::Nothing);
        }
        let change =
            if subscribed.reader.is_none() { Change::Subscribe(topic) } else { Change::Nothing };
        Some(change)
    }

    /// The topic has a subscription at NATS now.
    pub(crate) fn is_read_by(&mut self, topic: &Topic, reader: AbortHandle) {
        match self.topics.get_mut(topic) {
            Some(subscribed) => subscribed.reader = Some(reader),
            None => reader.abort(),
        }
    }

    /// Ends all subscriptions.
    pub(crate) fn end(&mut self) {
        for subscribed in std::mem::take(&mut self.topics).into_values() {
            if let Some(reader) = subscribed.reader {
                reader.abort();
            }
        }
        self.changed.clear();
    }
}

/// The subject of a topic, whose name may be any text.
pub(crate) fn subject(prefix: &str, topic: &Topic) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, topic.as_str().as_bytes());
    let hash = HEXLOWER.encode(hash.as_ref().get(..16).unwrap_or_default());
    format!("{prefix}.topic.{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nats_has_a_subscription_while_there_are_nodes() {
        let (mut topics, topic) = (Topics::default(), Topic::from("a"));
        topics.subscribe(NodeId(1), &topic);
        topics.subscribe(NodeId(2), &topic);
        assert_eq!(topics.next_change(), Some(Change::Subscribe(topic.clone())));
        assert_eq!(topics.next_change(), None);
        let reader = tokio::spawn(std::future::pending::<()>());
        topics.is_read_by(&topic, reader.abort_handle());
        topics.unsubscribe(NodeId(1), &topic);
        assert_eq!((topics.next_change(), topics.nodes(&topic)), (None, &[NodeId(2)][..]));
        topics.leave(NodeId(2));
        assert_eq!(topics.next_change(), Some(Change::Nothing));
        assert!(reader.await.unwrap_err().is_cancelled());
        // Nothing remains of one that ends before NATS has it.
        topics.subscribe(NodeId(1), &topic);
        topics.unsubscribe(NodeId(1), &topic);
        assert_eq!(topics.next_change(), None);
        assert!(topics.topics.is_empty());
    }

    #[test]
    fn subjects_are_the_same_for_all_versions() {
        let subject = subject("fedecks", &Topic::from("any text. *>"));
        assert_eq!(subject, "fedecks.topic.1bd56af3b56bdc85df97d4b12115c2f8");
    }
}
