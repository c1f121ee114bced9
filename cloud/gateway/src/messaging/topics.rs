//! Who on this node is subscribed to which topic.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::connection::mailbox::{Bounds, Item, Order, PutError};
use crate::connection::registry::Connected;
use crate::messaging::message::{Info, Message, Topic};

/// Who on this node is subscribed to which topic.
#[derive(Debug, Default)]
pub(crate) struct Topics(RwLock<HashMap<Topic, Subscribers>>);

/// Someone who hears of what is published on a topic.
#[derive(Debug, Clone)]
pub(crate) enum Subscriber {
    Session(Arc<Connected>),
    Application(Arc<Inbox>),
}

/// The sending end of an application's subscription.
#[derive(Debug)]
pub(crate) struct Inbox {
    sender: mpsc::Sender<Info>,
    missed: AtomicU64,
}

/// The receiving end of an application's subscription.
#[derive(Debug)]
pub(crate) struct Outlet {
    receiver: mpsc::Receiver<Info>,
    inbox: Arc<Inbox>,
}

/// A subscriber was too slow: so many of the messages after the one before were not kept for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber was too slow, {0} messages were lost")]
pub struct Lagged(pub u64);

/// Most topics belong to one device: one subscriber takes no table of its own.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a table inline would make every topic of one as big")]
enum Subscribers {
    One(Subscriber),
    Many(Box<HashMap<usize, Subscriber>>),
}

impl Topics {
    /// Subscribes. `first` is called for a topic that nobody here was subscribed to, before any other
    /// change of that topic.
    pub(crate) fn subscribe(&self, topic: &Topic, subscriber: Subscriber, first: impl FnOnce()) {
        let mut topics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match topics.entry(topic.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Subscribers::One(subscriber));
                first();
            }
            Entry::Occupied(mut occupied) => occupied.get_mut().add(subscriber),
        }
    }

    /// Ends a subscription. `last` is called if it was the topic's last one here, before any other
    /// change of that topic.
    pub(crate) fn unsubscribe(&self, topic: &Topic, subscriber: &Subscriber, last: impl FnOnce()) {
        let mut topics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(subscribers) = topics.get_mut(topic) else {
            return;
        };
        if subscribers.remove(subscriber) {
            topics.remove(topic);
            last();
        }
    }

    /// Hands a message to everyone who is subscribed. A session whose queue is full ends: it would
    /// otherwise miss the message without knowing. Returns how many did.
    pub(crate) fn publish(&self, topic: &Topic, message: &Message, bounds: &Bounds) -> u64 {
        let topics = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut overflowed = 0;
        let mut hand = |subscriber: &Subscriber| {
            let info = Info { topic: topic.clone(), message: message.clone() };
            match subscriber {
                Subscriber::Session(connected) => {
                    let put = connected.mailbox.put(Item::Info(info), bounds);
                    if put == Err(PutError::Full) {
                        overflowed += 1;
                        connected.mailbox.order(Order::TooSlow);
                    }
                }
                Subscriber::Application(inbox) => inbox.put(info),
            }
        };
        match topics.get(topic) {
            None => {}
            Some(Subscribers::One(one)) => hand(one),
            Some(Subscribers::Many(many)) => many.values().for_each(hand),
        }
        overflowed
    }
}

impl Subscriber {
    fn key(&self) -> usize {
        match self {
            Self::Session(connected) => Arc::as_ptr(connected) as usize,
            Self::Application(inbox) => Arc::as_ptr(inbox) as usize,
        }
    }
}

impl Subscribers {
    fn add(&mut self, subscriber: Subscriber) {
        match self {
            Self::One(one) if one.key() == subscriber.key() => {}
            Self::One(one) => {
                let both = [(one.key(), one.clone()), (subscriber.key(), subscriber)];
                *self = Self::Many(Box::new(HashMap::from(both)));
            }
            Self::Many(many) => {
                many.insert(subscriber.key(), subscriber);
            }
        }
    }

    /// Whether nobody is left.
    fn remove(&mut self, subscriber: &Subscriber) -> bool {
        match self {
            Self::One(one) => one.key() == subscriber.key(),
            Self::Many(many) => {
                many.remove(&subscriber.key());
                many.is_empty()
            }
        }
    }
}

impl Inbox {
    fn put(&self, info: Info) {
        match self.sender.try_send(info) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
            // The subscription is about to end.
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

impl Outlet {
    pub(crate) fn new(capacity: usize) -> Self {
        let (sender, receiver) = mpsc::channel(capacity);
        Self { receiver, inbox: Arc::new(Inbox { sender, missed: AtomicU64::new(0) }) }
    }

    pub(crate) fn subscriber(&self) -> Subscriber {
        Subscriber::Application(self.inbox.clone())
    }

    /// What comes next: first all that was kept, then how many were not, if any were not.
    pub(crate) async fn recv(&mut self) -> Result<Info, Lagged> {
        if let Ok(info) = self.receiver.try_recv() {
            return Ok(info);
        }
        match self.inbox.missed.swap(0, Ordering::Relaxed) {
            // The sending end is in `inbox`, so the channel is never closed.
            0 => self.receiver.recv().await.ok_or(Lagged(0)),
            missed => Err(Lagged(missed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use fedecks_protocol::Term;

    use super::*;
    use crate::connection::registry::tests::{connected, order};

    const BOUNDS: Bounds = Bounds { items: 2, bytes: 1000 };

    fn message() -> Message {
        Term::from("hello").into()
    }

    #[test]
    fn the_first_and_the_last_subscriber_of_a_topic_are_told_apart() {
        let topics = Topics::default();
        let topic = Topic::from("t");
        let (a, b) = (connected("a", 1), connected("b", 2));
        let (a, b) = (Subscriber::Session(a), Subscriber::Session(b));
        let news = Cell::new(0);
        let count = || news.set(news.get() + 1);
        topics.subscribe(&topic, a.clone(), count);
        assert_eq!(news.get(), 1);
        topics.subscribe(&topic, a.clone(), count);
        topics.subscribe(&topic, b.clone(), count);
        topics.unsubscribe(&topic, &a, count);
        topics.unsubscribe(&topic, &a, count);
        assert_eq!(news.get(), 1);
        topics.unsubscribe(&topic, &b, count);
        assert_eq!(news.get(), 2);
        assert!(topics.0.read().unwrap().is_empty());
    }

    #[test]
    fn only_subscribers_of_the_topic_get_a_message() {
        let topics = Topics::default();
        let sessions = [connected("a", 1), connected("b", 2), connected("c", 3)];
        for session in &sessions[..2] {
            topics.subscribe(&"t".into(), Subscriber::Session(session.clone()), || {});
        }
        topics.subscribe(&"other".into(), Subscriber::Session(sessions[2].clone()), || {});
        assert_eq!(topics.publish(&"t".into(), &message(), &BOUNDS), 0);
        let waiting = sessions.map(|session| session.mailbox.close().len());
        assert_eq!(waiting, [1, 1, 0]);
    }

    #[test]
    fn a_session_that_cannot_take_a_message_ends() {
        let topics = Topics::default();
        let (slow, quick) = (connected("a", 1), connected("b", 2));
        topics.subscribe(&"t".into(), Subscriber::Session(slow.clone()), || {});
        topics.publish(&"t".into(), &message(), &BOUNDS);
        topics.publish(&"t".into(), &message(), &BOUNDS);
        topics.subscribe(&"t".into(), Subscriber::Session(quick.clone()), || {});
        assert_eq!(topics.publish(&"t".into(), &message(), &BOUNDS), 1);
        assert_eq!(order(&slow), Some(Order::TooSlow));
        assert_eq!(order(&quick), None);
    }

    #[tokio::test]
    async fn an_application_that_is_too_slow_is_told_how_much_it_missed() {
        let topics = Topics::default();
        let mut outlet = Outlet::new(2);
        topics.subscribe(&"t".into(), outlet.subscriber(), || {});
        for _ in 0..5 {
            topics.publish(&"t".into(), &message(), &BOUNDS);
        }
        assert_eq!(outlet.recv().await.unwrap().message, message());
        assert!(outlet.recv().await.is_ok());
        assert_eq!(outlet.recv().await.unwrap_err(), Lagged(3));
        topics.publish(&"t".into(), &message(), &BOUNDS);
        assert!(outlet.recv().await.is_ok());
    }
}
