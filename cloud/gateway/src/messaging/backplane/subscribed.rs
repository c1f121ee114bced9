//! Which nodes are subscribed to which topics.

use std::collections::HashMap;
use std::slice;

use foldhash::fast::RandomState;

use crate::messaging::message::Topic;
use crate::messaging::presence::NodeId;

/// The nodes that are subscribed to each topic, for implementors of a backplane.
#[derive(Debug, Default)]
pub struct SubscribedNodes(HashMap<Topic, Subscribed, RandomState>);

/// Those of a topic. Most topics belong to one device, so a single node needs no list.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a list in line would make a topic with one node bigger")]
enum Subscribed {
    One(NodeId),
    Many(Box<Vec<NodeId>>),
}

impl SubscribedNodes {
    /// Subscribes a node, which may be subscribed already.
    pub fn subscribe(&mut self, node: NodeId, topic: &Topic) {
        self.0.entry(topic.clone()).or_insert(Subscribed::One(node)).add(node);
    }

    /// The inverse of [`SubscribedNodes::subscribe`].
    pub fn unsubscribe(&mut self, node: NodeId, topic: &Topic) {
        if self.0.get_mut(topic).is_some_and(|subscribed| !subscribed.remove(node)) {
            self.0.remove(topic);
        }
    }

    /// Removes all subscriptions of a node.
    pub fn leave(&mut self, node: NodeId) {
        self.0.retain(|_, subscribed| subscribed.remove(node));
    }

    /// The nodes that are subscribed to a topic.
    pub fn nodes(&self, topic: &Topic) -> &[NodeId] {
        self.0.get(topic).map_or(&[], Subscribed::nodes)
    }
}

impl Subscribed {
    fn nodes(&self) -> &[NodeId] {
        match self {
            Self::One(node) => slice::from_ref(node),
            Self::Many(nodes) => nodes,
        }
    }

    fn add(&mut self, node: NodeId) {
        match self {
            Self::One(one) if *one == node => {}
            Self::One(one) => *self = Self::Many(Box::new(vec![*one, node])),
            Self::Many(nodes) if nodes.contains(&node) => {}
            Self::Many(nodes) => nodes.push(node),
        }
    }

    /// Removes a node; returns false if none is left.
    fn remove(&mut self, node: NodeId) -> bool {
        match self {
            Self::One(one) => *one != node,
            Self::Many(nodes) => {
                nodes.retain(|subscribed| *subscribed != node);
                !nodes.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_remains_of_a_topic_without_nodes() {
        let (mut topics, topic) = (SubscribedNodes::default(), Topic::from("a"));
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
