//! The events of a client as a stream: what waits is bounded, and the slowest reader can pause the connection for a
//! while.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fedecks_device_core::{Event, Time};
use fedecks_protocol::EncodedTerm;
use futures_core::{FusedStream, Stream};
use tokio::sync::Notify;

use crate::event_queue::{EventQueue, Next, QueueLimits, Queued, ReaderId};

/// What happens to a [`Client`](crate::Client), and the messages from its cloud: from the start, or since
/// [`Client::subscribe`](crate::Client::subscribe). Ends when the client has stopped; unsubscribes on drop.
///
/// What is not read in time is missed; an [`Event::Missed`] replaces it and says how much that was.
///
/// This is a [`Stream`] as well, for the combinators of the crates `futures` and `tokio-stream`.
///
/// ```no_run
/// # async fn example(mut events: fedecks_device::Events) -> Result<(), Box<dyn std::error::Error>> {
/// use fedecks_device::Event;
///
/// while let Some(event) = events.next().await {
///     match event {
///         Event::Message(message) => println!("{:?}", message.parse::<Vec<String>>()?),
///         event => println!("{event}"),
///     }
/// }
/// # Ok(()) }
/// ```
pub struct Events {
    shared: Arc<Shared>,
    reader: ReaderId,
    ended: bool,
}

/// Creates readers.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions(Arc<Shared>);

/// Publishes events to all readers, and detects when the slowest one is about to miss some. Then
/// the connection is not read until that one has caught up, so the cloud has to wait; but only for
/// `patience`, since pings have to be answered and a reader may never read at all. Dropping it
/// ends the readers' streams.
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
    /// A reader has received an event or was dropped.
    received: Notify,
}

#[derive(Debug)]
struct State {
    queue: EventQueue,
    /// The readers that wait for the next event, at most one waker of each.
    waiting: Vec<(ReaderId, Waker)>,
    stopped: bool,
}

/// A queue with these limits. `patience` is how long a stalled reader may pause the connection;
/// meanwhile the client notices nothing that the cloud sends, so it must be far below the pong deadline.
pub(crate) fn queue(limits: QueueLimits, patience: Duration) -> (Publisher, Subscriptions) {
    let queue = EventQueue::new(limits);
    let state = State { queue, waiting: Vec::new(), stopped: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), received: Notify::new() });
    let subscriptions = Subscriptions(Arc::clone(&shared));
    // A message from the cloud is one event, but other events occur even while reading is paused.
    let limits = QueueLimits { events: limits.events - limits.events / 4, ..limits };
    (Publisher { shared, limits, stalled_since: None, patience }, subscriptions)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes the readers that wait.
    fn publish(&self, change: impl FnOnce(&mut State)) {
        let waiting = {
            let mut state = self.lock();
            change(&mut state);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
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
        self.shared.publish(|state| state.queue.push(event));
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

    /// Whether there is a reader.
    pub(crate) fn has_readers(&self) -> bool {
        self.shared.lock().queue.has_readers()
    }

    /// When reading resumes even if no reader has caught up.
    pub(crate) fn resume_by(&self) -> Option<Time> {
        self.stalled_since.map(|since| since + self.patience)
    }

    /// Waits until a reader has received an event or was dropped.
    pub(crate) async fn received(&self) {
        self.shared.received.notified().await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.publish(|state| state.stopped = true);
    }
}

impl Subscriptions {
    pub(crate) fn subscribe(&self) -> Events {
        let reader = self.0.lock().queue.join();
        Events { shared: Arc::clone(&self.0), reader, ended: false }
    }
}

impl Events {
    /// Waits for the next event; `None` when the client has stopped and everything that waited was read. A message
    /// is decoded only now. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match self.take(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Queued::Event(event))) => return Poll::Ready(Some(event)),
                Poll::Ready(Some(Queued::Message(message))) => {
                    // It was checked when it arrived.
                    if let Ok(term) = message.decode() {
                        return Poll::Ready(Some(Event::Message(term)));
                    }
                }
            }
        }
    }

    /// The next event of the queue. Otherwise the task is woken by the next one.
    fn take(&self, cx: &Context<'_>) -> Poll<Option<Queued>> {
        let mut state = self.shared.lock();
        state.waiting.retain(|(reader, _)| *reader != self.reader);
        let event = match state.queue.next(self.reader) {
            Next::Event(event) => event,
            Next::Missed(count) => Queued::Event(Event::Missed { count }),
            Next::Nothing if state.stopped => return Poll::Ready(None),
            Next::Nothing => {
                state.waiting.push((self.reader, cx.waker().clone()));
                return Poll::Pending;
            }
        };
        drop(state);
        self.shared.received.notify_one();
        Poll::Ready(Some(event))
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

impl FusedStream for Events {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.waiting.retain(|(reader, _)| *reader != self.reader);
            state.queue.leave(self.reader);
        }
        self.shared.received.notify_one();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::{Dialect, DownFrame, Limits, Received, Term};
    use futures_util::StreamExt;
    use futures_util::future::poll_immediate;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::new(Duration::from_millis(millis))
    }

    /// A subscription that has just stalled at 0 ms: three quarters of its queue are unread.
    fn stalled() -> (Publisher, Events) {
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
        assert_eq!(other.await.unwrap(), Some(Event::Message(term)));
    }

    #[tokio::test]
    async fn a_stopped_client_ends_subscriptions_after_what_waits() {
        let limits = QueueLimits { events: 8, weight: 1_000 };
        let (publisher, subscriptions) = queue(limits, Duration::from_secs(2));
        let mut subscription = subscriptions.subscribe();
        publisher.publish(Event::Connected);
        drop(publisher);
        assert_eq!(subscription.next().await, Some(Event::Connected));
        assert_eq!(subscription.next().await, None);
        assert!(subscription.is_terminated());
        assert_eq!(subscriptions.subscribe().next().await, None);
    }

    #[tokio::test]
    async fn events_are_a_stream_that_says_in_place_what_was_missed() {
        let limits = QueueLimits { events: 2, weight: 1_000 };
        let (publisher, subscriptions) = queue(limits, Duration::from_secs(2));
        let events = subscriptions.subscribe();
        let reading = tokio::spawn(events.collect::<Vec<_>>());
        tokio::task::yield_now().await;
        publisher.publish(Event::Unregistered);
        tokio::task::yield_now().await;
        for _ in 0..3 {
            publisher.publish(Event::Connected);
        }
        publisher.publish(Event::Replaced);
        drop(publisher);
        let expected =
            [Event::Unregistered, Event::Missed { count: 2 }, Event::Connected, Event::Replaced];
        assert_eq!(reading.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_leaves_no_waker_behind() {
        let limits = QueueLimits { events: 8, weight: 1_000 };
        let (_publisher, subscriptions) = queue(limits, Duration::from_secs(2));
        let mut events = subscriptions.subscribe();
        for _ in 0..100 {
            assert!(poll_immediate(events.next()).await.is_none());
        }
        assert_eq!(subscriptions.0.lock().waiting.len(), 1);
        drop(events);
        assert!(subscriptions.0.lock().waiting.is_empty());
    }
}
