//! The events on their way to whoever has subscribed to them.

use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{Event, Time};
use tokio::sync::{Notify, broadcast};

use crate::error::Stopped;

/// The events of a [`Client`](crate::Client) from the moment of subscribing on.
#[derive(Debug)]
pub struct Subscription {
    // Dropped first: what it had not taken counts no more when the other one tells.
    events: broadcast::Receiver<Event>,
    taken: TellsAtTheEnd,
}

/// Why a [`Subscription`] has no event to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// This many events came faster than they were taken, and are lost to this subscription.
    #[error("{0} events were missed")]
    Lagged(u64),
    /// The client was shut down; nothing will come any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Where to subscribe, for as long as the connection lasts.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions {
    events: broadcast::WeakSender<Event>,
    taken: Taken,
}

/// Tells all subscriptions, and knows when the slowest of them is about to miss something. Then the
/// connection is not read until it has caught up, so that the cloud has to wait; but not for longer
/// than its patience, since pings have to be answered and a subscription may never be read at all.
#[derive(Debug)]
pub(crate) struct Publisher {
    events: broadcast::Sender<Event>,
    taken: Taken,
    /// So many events behind is too far.
    limit: usize,
    /// Since when a subscription is that far behind.
    behind_since: Option<Time>,
    patience: Duration,
}

/// Something was taken out of the queue.
type Taken = Arc<Notify>;

#[derive(Debug)]
struct TellsAtTheEnd(Taken);

/// A queue for this many events. `patience` is how long the connection waits for a subscription that
/// is behind; what the cloud sends is not seen meanwhile, so it is far below the pong deadline.
pub(crate) fn queue(size: usize, patience: Duration) -> (Publisher, Subscriptions) {
    let (events, _) = broadcast::channel(size);
    let taken = Taken::default();
    let weak = Subscriptions { events: events.downgrade(), taken: taken.clone() };
    // One message from the cloud makes one event, but what goes on beside it makes some too.
    let limit = size - size / 4;
    (Publisher { events, taken, limit, behind_since: None, patience }, weak)
}

impl Publisher {
    pub(crate) fn publish(&self, event: Event) {
        // Nobody listening is no error: events are for whoever wants them.
        let _ = self.events.send(event);
    }

    /// Whether the link may be read.
    pub(crate) fn has_room(&mut self, now: Time) -> bool {
        if self.events.len() < self.limit {
            self.behind_since = None;
            return true;
        }
        now - *self.behind_since.get_or_insert(now) >= self.patience
    }

    /// When the link is read again even if no subscription has caught up.
    pub(crate) fn room_by(&self) -> Option<Time> {
        self.behind_since.map(|since| since + self.patience)
    }

    /// Waits until a subscription has taken something.
    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }
}

impl Subscriptions {
    pub(crate) fn subscribe(&self) -> Subscription {
        let events = match self.events.upgrade() {
            Some(events) => events.subscribe(),
            // The connection has ended: a channel without a sender says so.
            None => broadcast::channel(1).1,
        };
        Subscription { events, taken: TellsAtTheEnd(self.taken.clone()) }
    }
}

impl Subscription {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Result<Event, SubscriptionError> {
        let event = self.events.recv().await;
        self.taken.0.notify_one();
        event.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => SubscriptionError::Lagged(missed),
            broadcast::error::RecvError::Closed => Stopped.into(),
        })
    }
}

impl Drop for TellsAtTheEnd {
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

    #[tokio::test]
    async fn a_subscription_that_is_behind_makes_the_link_wait_until_it_catches_up() {
        let (mut publisher, subscriptions) = queue(8, Duration::from_secs(2));
        let mut slow = subscriptions.subscribe();
        for _ in 0..5 {
            publisher.publish(Event::Unregistered);
            assert!(publisher.has_room(at(0)));
        }
        publisher.publish(Event::Connected);
        assert!(!publisher.has_room(at(0)));
        assert_eq!(publisher.room_by(), Some(at(2_000)));
        slow.next().await.unwrap();
        publisher.taken().await;
        assert!(publisher.has_room(at(1)));
        assert_eq!(publisher.room_by(), None);
    }

    #[test]
    fn a_subscription_that_is_never_read_is_waited_for_once() {
        let (mut publisher, subscriptions) = queue(8, Duration::from_secs(2));
        let _stuck = subscriptions.subscribe();
        for _ in 0..6 {
            publisher.publish(Event::Connected);
        }
        assert!(!publisher.has_room(at(0)));
        assert!(!publisher.has_room(at(1_999)));
        for millis in 2_000..2_100 {
            assert!(publisher.has_room(at(millis)));
            publisher.publish(Event::Connected);
        }
    }

    #[tokio::test]
    async fn a_subscription_that_is_gone_is_waited_for_no_longer() {
        let (mut publisher, subscriptions) = queue(8, Duration::from_secs(2));
        let stuck = subscriptions.subscribe();
        for _ in 0..6 {
            publisher.publish(Event::Connected);
        }
        assert!(!publisher.has_room(at(0)));
        drop(stuck);
        publisher.taken().await;
        assert!(publisher.has_room(at(0)));
    }
}
