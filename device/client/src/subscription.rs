//! Event subscriptions: what waits for them is bounded, and the slowest can pause the connection for a while.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedecks_device_core::{Event, Time};
use fedecks_protocol::EncodedTerm;
use tokio::sync::Notify;

use crate::error::Stopped;
use crate::event_queue::{EventQueue, Next, QueueLimits, Queued, ReaderId};

/// The events of a [`Client`](crate::Client) since the subscription; unsubscribes on drop.
pub struct Subscription {
    shared: Arc<Shared>,
    reader: ReaderId,
}

/// Why a [`Subscription`] returns no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// This many events arrived faster than they were received, and are lost for this subscription.
    #[error("{0} events were missed")]
    Lagged(u64),
    /// The client was shut down; there will be no more events.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Creates subscriptions.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions(Arc<Shared>);

/// Publishes events to all subscriptions, and detects when the slowest one is about to miss some. Then
/// the connection is not read until that one has caught up, so the cloud has to wait; but only for
/// `patience`, since pings have to be answered and a subscription may never be read at all. Dropping it
/// ends the subscriptions.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    limits: QueueLimits,
    stalled_since: Option<Time>,
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something was published, or the client has stopped.
    published: Notify,
    /// A subscription has received an event or was dropped.
    received: Notify,
}

#[derive(Debug)]
struct State {
    queue: EventQueue,
    stopped: bool,
}

/// A queue with these limits. `patience` is how long a stalled subscription may pause the connection;
/// meanwhile the client notices nothing that the cloud sends, so it must be far below the pong deadline.
pub(crate) fn queue(limits: QueueLimits, patience: Duration) -> (Publisher, Subscriptions) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State { queue: EventQueue::new(limits), stopped: false }),
        published: Notify::new(),
        received: Notify::new(),
    });
    let subscriptions = Subscriptions(Arc::clone(&shared));
    // A message from the cloud is one event, but other events occur even while reading is paused.
    let limits = QueueLimits { events: limits.events - limits.events / 4, ..limits };
    (Publisher { shared, limits, stalled_since: None, patience }, subscriptions)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publisher {
    pub(crate) fn publish(&self, event: Event) {
        self.push(Queued::Event(event));
    }

    pub(crate) fn publish_message(&self, message: EncodedTerm) {
        self.push(Queued::Message(message));
    }

    fn push(&self, event: Queued) {
        self.shared.lock().queue.push(event);
        self.shared.published.notify_waiters();
    }

    /// Returns true if the link may be read.
    pub(crate) fn has_room(&mut self, now: Time) -> bool {
        let has_room = {
            let queue = &self.shared.lock().queue;
            queue.len() < self.limits.events && queue.weight() <= self.limits.weight
        };
        if has_room {
            self.stalled_since = None;
            return true;
        }
        now - *self.stalled_since.get_or_insert(now) >= self.patience
    }

    /// When reading resumes even if no subscription has caught up.
    pub(crate) fn resume_by(&self) -> Option<Time> {
        self.stalled_since.map(|since| since + self.patience)
    }

    /// Waits until a subscription has received an event or was dropped.
    pub(crate) async fn received(&self) {
        self.shared.received.notified().await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.published.notify_waiters();
    }
}

impl Subscriptions {
    pub(crate) fn subscribe(&self) -> Subscription {
        let reader = self.0.lock().queue.join();
        Subscription { shared: Arc::clone(&self.0), reader }
    }
}

impl Subscription {
    /// Waits for the next event. A message is decoded only now. Cancel safe.
    pub async fn next(&mut self) -> Result<Event, SubscriptionError> {
        loop {
            // Before looking, so that nothing that is published meanwhile goes unnoticed.
            let published = self.shared.published.notified();
            let (next, stopped) = {
                let mut state = self.shared.lock();
                (state.queue.next(self.reader), state.stopped)
            };
            if !matches!(next, Next::Nothing) {
                self.shared.received.notify_one();
            }
            match next {
                Next::Event(Queued::Event(event)) => return Ok(event),
                Next::Event(Queued::Message(message)) => {
                    // It was checked when it arrived.
                    if let Ok(term) = message.decode() {
                        return Ok(Event::Message(term));
                    }
                }
                Next::Missed(count) => return Err(SubscriptionError::Lagged(count)),
                Next::Nothing if stopped => return Err(Stopped.into()),
                Next::Nothing => published.await,
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.lock().queue.leave(self.reader);
        self.shared.received.notify_one();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::{Dialect, DownFrame, Limits, Received, Term};

    use super::*;

    fn at(millis: u64) -> Time {
        Time::new(Duration::from_millis(millis))
    }

    /// A subscription that has just stalled at 0 ms: three quarters of its queue are unread.
    fn stalled() -> (Publisher, Subscription) {
        let (mut publisher, subscriptions) =
            queue(QueueLimits { events: 8, weight: 1_000_000 }, Duration::from_secs(2));
        let subscription = subscriptions.subscribe();
        for _ in 0..6 {
            assert!(publisher.has_room(at(0)));
            publisher.publish(Event::Connected);
        }
        assert!(!publisher.has_room(at(0)));
        (publisher, subscription)
    }

    #[tokio::test]
    async fn a_stalled_subscription_pauses_the_link_until_read_or_dropped() {
        let (mut publisher, mut slow) = stalled();
        assert_eq!(publisher.resume_by(), Some(at(2_000)));
        slow.next().await.unwrap();
        publisher.received().await;
        assert!(publisher.has_room(at(1)));
        assert_eq!(publisher.resume_by(), None);

        let (mut publisher, dropped) = stalled();
        drop(dropped);
        publisher.received().await;
        assert!(publisher.has_room(at(0)));
    }

    #[test]
    fn a_subscription_that_is_never_read_pauses_the_link_once() {
        let (mut publisher, _stuck) = stalled();
        assert!(!publisher.has_room(at(1_999)));
        for millis in 2_000..2_100 {
            assert!(publisher.has_room(at(millis)));
            publisher.publish(Event::Connected);
        }
    }

    #[tokio::test]
    async fn heavy_messages_pause_the_link_like_many_do() {
        let limits = QueueLimits { events: 64, weight: 1_000 };
        let (mut publisher, subscriptions) = queue(limits, Duration::from_secs(2));
        let mut slow = subscriptions.subscribe();
        publisher.publish(Event::RawMessage(vec![0; 1_000]));
        assert!(publisher.has_room(at(0)));
        publisher.publish(Event::RawMessage(vec![0; 1]));
        assert!(!publisher.has_room(at(0)));
        slow.next().await.unwrap();
        publisher.received().await;
        assert!(publisher.has_room(at(1)));
    }

    #[tokio::test]
    async fn a_message_waits_encoded_and_arrives_as_a_term() {
        let limits = QueueLimits { events: 64, weight: 1_000_000 };
        let (publisher, subscriptions) = queue(limits, Duration::from_secs(2));
        let mut subscription = subscriptions.subscribe();
        let term = Term::List(vec![Term::from("a"), Term::Nil]);
        let frame = DownFrame::Message { sequence: None, term: term.clone() };
        let limits = Limits::default();
        let bytes = Dialect::Bincode.encode_down(&frame, &limits).unwrap();
        let Ok(Received::Message(message)) = Dialect::Bincode.receive_down(&bytes, &limits) else {
            panic!("not a message");
        };
        let other = tokio::spawn(async move { subscription.next().await });
        tokio::task::yield_now().await;
        publisher.publish_message(message);
        assert_eq!(other.await.unwrap(), Ok(Event::Message(term)));
    }

    #[tokio::test]
    async fn a_stopped_client_ends_subscriptions_after_what_waits() {
        let limits = QueueLimits { events: 8, weight: 1_000 };
        let (publisher, subscriptions) = queue(limits, Duration::from_secs(2));
        let mut subscription = subscriptions.subscribe();
        publisher.publish(Event::Connected);
        drop(publisher);
        assert_eq!(subscription.next().await, Ok(Event::Connected));
        assert_eq!(subscription.next().await, Err(Stopped.into()));
        assert_eq!(subscriptions.subscribe().next().await, Err(Stopped.into()));
    }
}
