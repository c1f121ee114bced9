//! A program's subscription to a topic.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::messaging::hub::Hub;
use crate::messaging::message::Topic;
use crate::messaging::topics::{SubscriptionReceiver, TopicEvent};

/// A subscription of a program to a topic; unsubscribes on drop. It is a [`Stream`] as well, for the combinators of
/// the crates `futures` and `tokio-stream`.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    topic: Topic,
    receiver: SubscriptionReceiver,
}

/// How many messages a [`Subscription`] buffers.
const SUBSCRIPTION_BUFFER: usize = 1024;

/// What they may weigh together, in bytes.
const SUBSCRIPTION_BYTES: usize = 16 * 1024 * 1024;

impl Hub {
    /// Subscribes your program to a topic. The subscription buffers 1,024 messages that take up to 16 MiB
    /// together, and at least one; if it overflows, messages are dropped and [`TopicEvent::Missed`] says how many.
    pub fn subscribe(&self, topic: impl Into<Topic>) -> Subscription {
        let topic = topic.into();
        let receiver = SubscriptionReceiver::new(SUBSCRIPTION_BUFFER, SUBSCRIPTION_BYTES);
        self.add_subscriber(&topic, receiver.subscriber());
        Subscription { hub: self.clone(), topic, receiver }
    }
}

impl Subscription {
    /// The next message, or how many were missed. Never `None`. Cancel safe.
    pub async fn next(&mut self) -> Option<TopicEvent> {
        poll_fn(|cx| self.receiver.poll_next(cx)).await
    }
}

impl Stream for Subscription {
    type Item = TopicEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TopicEvent>> {
        self.receiver.poll_next(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.remove_subscriber(&self.topic, &self.receiver.subscriber());
    }
}
