//! Which nodes of this instance are subscribed to which topics.

use std::collections::HashMap;

use fedecks_cloud::messaging::{NodeId, Topic};
use foldhash::fast::RandomState;

/// The nodes by topic. There are few of them, so a list is enough.
#[derive(Default)]
pub(crate) struct Topics(HashMap<Topic, Vec<NodeId>, RandomState>);

impl Topics {
    pub(crate) fn subscribe(&mut self, node: NodeId, topic: &Topic) {
        let nodes = self.0.entry(topic.clone()).or_insert_with(|| Vec::with_capacity(1));
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    pub(crate) fn unsubscribe(&mut self, node: NodeId, topic: &Topic) {
        if let Some(nodes) = self.0.get_mut(topic) {
            nodes.retain(|subscribed| *subscribed != node);
            if nodes.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    pub(crate) fn leave(&mut self, node: NodeId) {
        self.0.retain(|_, nodes| {
            nodes.retain(|subscribed| *subscribed != node);
            !nodes.is_empty()
        });
    }

    pub(crate) fn nodes(&self, topic: &Topic) -> &[NodeId] {
        self.0.get(topic).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_remains_of_a_topic_without_nodes() {
        let (mut topics, topic) = (Topics::default(), Topic::from("a"));
        for node in [NodeId(1), NodeId(2), NodeId(2)] {
            topics.subscribe(node, &topic);
        }
        assert_eq!(topics.nodes(&topic), [NodeId(1), NodeId(2)]);
        topics.unsubscribe(NodeId(1), &topic);
        assert_eq!(topics.nodes(&topic), [NodeId(2)]);
        topics.leave(NodeId(2));
        assert_eq!(topics.nodes(&topic), []);
        assert!(topics.0.is_empty());
    }
}
