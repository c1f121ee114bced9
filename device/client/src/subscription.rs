//! Event subscriptions: a broadcast queue whose slowest reader can pause the connection for a while.

use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{Event, Time};
use tokio::sync::{Notify, broadcast};

use crate::error::Stopped;

/// The events of a [`Client`](crate::Client) since the subscription; unsubscribes on drop.
#[derive(Debug)]
pub struct Subscription {
    // Dropped before the notification, so that its unread events no longer count.
    events: broadcast::Receiver<Event>,
    received: NotifyOnDrop,
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

/// Creates subscriptions. Does not keep the channel open.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions {
    events: broadcast::WeakSender<Event>,
    received: Received,
}

/// Publishes events to all subscriptions, and detects when the slowest one is about to miss some. Then
/// the connection is not read until that one has caught up, so the cloud has to wait; but only for
/// `patience`, since pings have to be answered and a subscription may never be read at all.
#[derive(Debug)]
pub(crate) struct Publisher {
    events: broadcast::Sender<Event>,
    received: Received,
    /// Number of unread events at which a subscription counts as stalled.
    limit: usize,
    stalled_since: Option<Time>,
    patience: Duration,
}

/// Notified when a subscription has received an event or was dropped.
type Received = Arc<Notify>;

#[derive(Debug)]
struct NotifyOnDrop(Received);

/// A queue of `size` events. `patience` is how long a stalled subscription may pause the connection;
/// meanwhile the client notices nothing that the cloud sends, so it must be far below the pong deadline.
pub(crate) fn queue(size: usize, patience: Duration) -> (Publisher, Subscriptions) {
    let (events, _) = broadcast::channel(size);
    let received = Received::default();
    let weak = Subscriptions { events: events.downgrade(), received: received.clone() };
    // A message from the cloud is one event, but other events occur even while reading is paused.
    let limit = size - size / 4;
    (Publisher { events, received, limit, stalled_since: None, patience }, weak)
}

impl Publisher {
    pub(crate) fn publish(&self, event: Event) {
        // Fails without subscriptions, which is fine.
        let _ = self.events.send(event);
    }

    /// Returns true if the link may be read.
    pub(crate) fn has_room(&mut self, now: Time) -> bool {
        if self.events.len() < self.limit {
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
        self.received.notified().await;
    }
}

impl Subscriptions {
    pub(crate) fn subscribe(&self) -> Subscription {
        let events = match self.events.upgrade() {
            Some(events) => events.subscribe(),
            // The client has stopped: a channel without a sender reports that.
            None => broadcast::channel(1).1,
        };
        Subscription { events, received: NotifyOnDrop(self.received.clone()) }
    }
}

impl Subscription {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Result<Event, SubscriptionError> {
        let event = self.events.recv().await;
        self.received.0.notify_one();
        event.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => SubscriptionError::Lagged(missed),
            broadcast::error::RecvError::Closed => Stopped.into(),
        })
    }
}

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::new(Duration::from_millis(millis))
    }

    /// A subscription that has just stalled at 0 ms: three quarters of its queue are unread.
    fn stalled() -> (Publisher, Subscription) {
        let (mut publisher, subscriptions) = queue(8, Duration::from_secs(2));
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
}
