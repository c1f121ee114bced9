//! The subscribers on this node, by topic.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::RwLock;
use tokio::sync::mpsc;

use crate::byte_pool::BytePool;
use crate::connection::mailbox::{Bounds, CloseCommand, Item, SendError};
use crate::connection::registry::ConnectionHandle;
use crate::messaging::message::{Message, Published, Topic};

/// The subscribers on this node, by topic.
#[derive(Debug, Default)]
pub(crate) struct Topics(RwLock<HashMap<Topic, Subscribers>>);

/// A receiver of the messages on a topic.
#[derive(Debug, Clone)]
pub(crate) enum Subscriber {
    Session(Arc<ConnectionHandle>),
    Application(Arc<SubscriptionSender>),
}

/// The sending end of an application's subscription.
#[derive(Debug)]
pub(crate) struct SubscriptionSender {
    sender: mpsc::Sender<Published>,
    /// What the buffered messages weigh, in bytes.
    weight: AtomicUsize,
    max_weight: usize,
    lost: AtomicU64,
}

/// The receiving end of an application's subscription.
#[derive(Debug)]
pub(crate) struct SubscriptionReceiver {
    receiver: mpsc::Receiver<Published>,
    sender: Arc<SubscriptionSender>,
}

/// What a [`Subscription`](crate::messaging::Subscription) receives.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TopicEvent {
    /// A message was published on the topic.
    Message(Published),
    /// Messages after the previous one were dropped, because the program was too slow.
    Missed {
        /// How many.
        count: u64,
    },
}

impl fmt::Display for TopicEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(info) => write!(f, "a message on {}", info.topic),
            Self::Missed { count: 1 } => f.write_str("1 message was missed"),
            Self::Missed { count } => write!(f, "{count} messages were missed"),
        }
    }
}

/// Most topics belong to one device, so a single subscriber needs no table.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "an inline table would make a topic with one subscriber as big"
)]
enum Subscribers {
    One(Subscriber),
    Many(Box<HashMap<usize, Subscriber>>),
}

impl Topics {
    /// Subscribes. If this is the topic's first subscriber on this node, `first` is called before any other
    /// change to that topic.
    pub(crate) fn subscribe(&self, topic: &Topic, subscriber: Subscriber, first: impl FnOnce()) {
        let mut topics = self.0.write();
        match topics.entry(topic.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Subscribers::One(subscriber));
                first();
            }
            Entry::Occupied(mut occupied) => occupied.get_mut().add(subscriber),
        }
    }

    /// Unsubscribes. If this was the topic's last subscriber on this node, `last` is called before any
    /// other change to that topic.
    pub(crate) fn unsubscribe(&self, topic: &Topic, subscriber: &Subscriber, last: impl FnOnce()) {
        let mut topics = self.0.write();
        let Some(subscribers) = topics.get_mut(topic) else {
            return;
        };
        if subscribers.remove(subscriber) {
            topics.remove(topic);
            last();
        }
    }

    /// Delivers a message to all subscribers. A session whose queue is full is ended, because it would
    /// otherwise miss the message without knowing. Returns the number of these sessions.
    pub(crate) fn publish(
        &self,
        topic: &Topic,
        message: &Message,
        bounds: &Bounds,
        sum: &Arc<BytePool>,
    ) -> u64 {
        // Copied, so that no one waits for the lock as long as it takes to deliver to all.
        let subscribers = match self.0.read().get(topic) {
            None => return 0,
            Some(Subscribers::One(one)) => vec![one.clone()],
            Some(Subscribers::Many(many)) => many.values().cloned().collect(),
        };
        // One for a single session counts in its session's queue.
        let shared = (subscribers.len() > 1).then(|| Arc::new(sum.hold_queued(message.weight())));
        let mut overflowed = 0;
        for subscriber in &subscribers {
            let info = Published { topic: topic.clone(), message: message.clone() };
            match subscriber {
                Subscriber::Session(connection) => {
                    let item = Item::Published(info);
                    let sent = connection.mailbox.send(item, bounds, sum, shared.as_ref());
                    let command = match sent {
                        Ok(()) | Err(SendError::Closed) => continue,
                        Err(SendError::Full) => CloseCommand::TooSlow,
                        Err(SendError::NoMemory) => CloseCommand::NoMemory,
                    };
                    overflowed += 1;
                    connection.mailbox.end_session(command);
                }
                Subscriber::Application(sender) => sender.send(info),
            }
        }
        overflowed
    }
}

impl Subscriber {
    fn key(&self) -> usize {
        match self {
            Self::Session(connection) => Arc::as_ptr(connection) as usize,
            Self::Application(sender) => Arc::as_ptr(sender) as usize,
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

    /// Removes a subscriber; returns true if none is left.
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

impl SubscriptionSender {
    fn send(&self, info: Published) {
        let weight = info.message.weight();
        let before = self.weight.fetch_add(weight, Ordering::Relaxed);
        // A message that is heavier than the limit waits alone.
        let fits = before == 0 || before.saturating_add(weight) <= self.max_weight;
        if fits && self.sender.try_send(info).is_ok() {
            return;
        }
        self.weight.fetch_sub(weight, Ordering::Relaxed);
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn received(&self, info: &Published) {
        self.weight.fetch_sub(info.message.weight(), Ordering::Relaxed);
    }
}

impl SubscriptionReceiver {
    /// Buffers up to `capacity` messages that weigh up to `max_weight` bytes together.
    pub(crate) fn new(capacity: usize, max_weight: usize) -> Self {
        let (sender, receiver) = mpsc::channel(capacity);
        let (weight, lost) = (AtomicUsize::new(0), AtomicU64::new(0));
        let sender = SubscriptionSender { sender, weight, max_weight, lost };
        Self { receiver, sender: Arc::new(sender) }
    }

    pub(crate) fn subscriber(&self) -> Subscriber {
        Subscriber::Application(self.sender.clone())
    }

    /// The next message that was kept, or, once all of these are read, how many were dropped.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<TopicEvent>> {
        let received = match self.receiver.try_recv() {
            Ok(info) => Some(info),
            Err(_) => match self.sender.lost.swap(0, Ordering::Relaxed) {
                // `self` owns a sender, so the channel is never closed.
                0 => ready!(self.receiver.poll_recv(cx)),
                count => return Poll::Ready(Some(TopicEvent::Missed { count })),
            },
        };
        Poll::Ready(received.map(|info| {
            self.sender.received(&info);
            TopicEvent::Message(info)
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::sync::LazyLock;

    use fedecks_protocol::Term;

    use super::*;
    use crate::connection::registry::tests::{close_command, handle};

    const BOUNDS: Bounds = Bounds { items: 2, bytes: 1000 };
    static SUM: LazyLock<Arc<BytePool>> = LazyLock::new(|| Arc::new(BytePool::new(usize::MAX)));

    fn message() -> Message {
        Term::from("hello").into()
    }

    fn received() -> TopicEvent {
        TopicEvent::Message(Published { topic: "t".into(), message: message() })
    }

    async fn next(receiver: &mut SubscriptionReceiver) -> TopicEvent {
        poll_fn(|cx| receiver.poll_next(cx)).await.unwrap()
    }

    impl Topics {
        fn add(&self, topic: &str, session: &Arc<ConnectionHandle>) {
            self.subscribe(&topic.into(), Subscriber::Session(session.clone()), || {});
        }

        fn publish_one(&self) -> u64 {
            self.publish(&"t".into(), &message(), &BOUNDS, &SUM)
        }
    }

    #[test]
    fn the_first_and_the_last_subscriber_of_a_topic_are_reported() {
        let topics = Topics::default();
        let topic = Topic::from("t");
        let [a, b] = [handle("a", 1), handle("b", 2)].map(Subscriber::Session);
        let reports = Cell::new(0);
        let count = || reports.set(reports.get() + 1);
        topics.subscribe(&topic, a.clone(), count);
        assert_eq!(reports.get(), 1);
        topics.subscribe(&topic, a.clone(), count);
        topics.subscribe(&topic, b.clone(), count);
        topics.unsubscribe(&topic, &a, count);
        topics.unsubscribe(&topic, &a, count);
        assert_eq!(reports.get(), 1);
        topics.unsubscribe(&topic, &b, count);
        assert_eq!(reports.get(), 2);
        assert!(topics.0.read().is_empty());
    }

    #[test]
    fn only_subscribers_of_the_topic_get_a_message() {
        let topics = Topics::default();
        let sessions = [handle("a", 1), handle("b", 2), handle("c", 3)];
        for (topic, session) in ["t", "t", "other"].iter().zip(&sessions) {
            topics.add(topic, session);
        }
        assert_eq!(topics.publish_one(), 0);
        let waiting = sessions.map(|session| session.mailbox.close(&SUM).len());
        assert_eq!(waiting, [1, 1, 0]);
    }

    #[test]
    fn a_session_that_would_miss_a_message_is_ended() {
        let topics = Topics::default();
        let (slow, quick) = (handle("a", 1), handle("b", 2));
        topics.add("t", &slow);
        topics.publish_one();
        topics.publish_one();
        topics.add("t", &quick);
        assert_eq!(topics.publish_one(), 1);
        assert_eq!(close_command(&slow), Some(CloseCommand::TooSlow));
        assert_eq!(close_command(&quick), None);
    }

    #[tokio::test]
    async fn a_subscription_is_bounded_by_weight_as_well() {
        let topics = Topics::default();
        let mut receiver = SubscriptionReceiver::new(1000, 3 * message().weight());
        topics.subscribe(&"t".into(), receiver.subscriber(), || {});
        for _ in 0..5 {
            topics.publish_one();
        }
        for _ in 0..3 {
            assert_eq!(next(&mut receiver).await, received());
        }
        assert_eq!(next(&mut receiver).await, TopicEvent::Missed { count: 2 });
        let mut alone = SubscriptionReceiver::new(1000, 1);
        topics.subscribe(&"t".into(), alone.subscriber(), || {});
        topics.publish_one();
        assert_eq!(next(&mut alone).await, received());
    }

    #[tokio::test]
    async fn a_slow_application_learns_how_many_messages_it_missed() {
        let topics = Topics::default();
        let mut receiver = SubscriptionReceiver::new(2, usize::MAX);
        topics.subscribe(&"t".into(), receiver.subscriber(), || {});
        for _ in 0..5 {
            topics.publish_one();
        }
        assert_eq!(next(&mut receiver).await, received());
        assert_eq!(next(&mut receiver).await, received());
        assert_eq!(next(&mut receiver).await, TopicEvent::Missed { count: 3 });
        topics.publish_one();
        assert_eq!(next(&mut receiver).await, received());
    }

    #[test]
    fn a_message_counts_until_its_last_subscriber_has_it() {
        let topics = Topics::default();
        let (bounds, sum) =
            (Bounds { items: 100, bytes: usize::MAX }, Arc::new(BytePool::new(1_000_000)));
        let sessions: Vec<_> = (0..100).map(|stamp| handle("a", stamp)).collect();
        sessions.iter().for_each(|session| topics.add("t", session));
        let big = Message::from(Term::from("x".repeat(50_000)));
        topics.publish(&"t".into(), &big, &bounds, &sum);
        for session in &sessions[1..] {
            assert_eq!(session.mailbox.close(&sum).len(), 1);
        }
        assert!((50_000..60_000).contains(&sum.used()), "{}", sum.used());
        sessions[0].mailbox.close(&sum);
        assert_eq!(sum.used(), 0);
    }

    #[test]
    fn what_others_hold_ends_no_healthy_session() {
        let (bounds, sum) =
            (Bounds { items: 100, bytes: usize::MAX }, Arc::new(BytePool::new(100_000)));
        let (topics, hog) = (Topics::default(), handle("hog", 1));
        let [one, other] = [2, 3].map(|stamp| handle("a", stamp));
        let big = || Item::Frame(vec![0; 30_000].into());
        while hog.mailbox.send(big(), &bounds, &sum, None).is_ok() {}
        let message = |size| Message::from(Term::from("x".repeat(size)));
        topics.add("t", &one);
        assert_eq!(topics.publish(&"t".into(), &message(12_000), &bounds, &sum), 0);
        // Shared by two, it is in memory once.
        topics.add("u", &other);
        topics.add("u", &handle("b", 4));
        assert_eq!(topics.publish(&"u".into(), &message(60_000), &bounds, &sum), 0);
        assert_eq!([&one, &other].map(|session| close_command(session)), [None, None]);
    }

    #[test]
    fn messages_to_several_sessions_are_bounded_in_sum() {
        let (bounds, sum) =
            (Bounds { items: 100, bytes: usize::MAX }, Arc::new(BytePool::new(100_000)));
        let topics = Topics::default();
        let message = || Message::from(Term::from("x".repeat(60_000)));
        let mut ended = 0;
        for stamp in 0..100 {
            let topic = format!("t{stamp}");
            topics.add(&topic, &handle("a", stamp * 2));
            topics.add(&topic, &handle("b", stamp * 2 + 1));
            ended += topics.publish(&topic.as_str().into(), &message(), &bounds, &sum);
        }
        assert!(sum.used() < 300_000, "{}", sum.used());
        assert!(ended > 190, "{ended}");
    }
}
