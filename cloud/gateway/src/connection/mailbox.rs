//! What waits for one session, within bounds.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fedecks_protocol::CloseReason;
use tokio::time::Instant;

use crate::messaging::message::Info;

/// What waits for one session: bounded, and without any allocation while nothing waits.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<State>);

/// How much may wait for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    /// About how many bytes. A single item may be bigger.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) enum Item {
    /// A frame for the device, encoded.
    Frame(Bytes),
    /// Something published, for the handler.
    Info(Info),
}

/// Ends the session. It passes everything that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Close(CloseReason),
    /// The queue overflowed.
    TooSlow,
}

#[derive(Debug)]
pub(crate) enum Delivery {
    Order(Order),
    Item(Item),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PutError {
    #[error("the session is over")]
    Closed,
    #[error("the session's queue is full")]
    Full,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    order: Option<Order>,
    waker: Option<Waker>,
    /// Since when the device has taken nothing of what is sent to it.
    stalled_since: Option<Instant>,
    closed: bool,
}

/// After how long without taking anything a device whose queue is full counts as one that does not
/// read. One on a slow link takes something every now and then.
const READS_NOTHING: Duration = Duration::from_secs(5);

impl Mailbox {
    /// Puts something into the queue. If that is full because the device reads nothing, the session
    /// is ordered to end.
    pub(crate) fn put(&self, item: Item, bounds: &Bounds) -> Result<(), PutError> {
        let mut state = self.lock();
        if state.closed || state.order.is_some() {
            return Err(PutError::Closed);
        }
        let weight = item.weight();
        let fits = state.queue.len() < bounds.items && state.bytes + weight <= bounds.bytes;
        if !fits && !state.queue.is_empty() {
            if state.stalled_since.is_some_and(|since| since.elapsed() >= READS_NOTHING) {
                state.order = Some(Order::TooSlow);
                wake(state);
            }
            return Err(PutError::Full);
        }
        state.bytes += weight;
        state.queue.push_back(item);
        wake(state);
        Ok(())
    }

    /// Orders the session to end. Whether this is the order that counts: the first one does.
    pub(crate) fn order(&self, order: Order) -> bool {
        let mut state = self.lock();
        if state.closed || state.order.is_some() {
            return false;
        }
        state.order = Some(order);
        wake(state);
        true
    }

    /// Says since when the device has taken nothing of what is sent to it; `None` if nothing waits.
    pub(crate) fn set_stalled(&self, since: Option<Instant>) {
        self.lock().stalled_since = since;
    }

    /// The order, if there is one, or else the item at the front if `items` are wanted. Otherwise
    /// the task is woken when something comes.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, items: bool) -> Poll<Delivery> {
        let mut state = self.lock();
        if let Some(order) = state.order {
            return Poll::Ready(Delivery::Order(order));
        }
        if let Some(item) = items.then(|| state.queue.pop_front()).flatten() {
            state.bytes -= item.weight();
            if state.queue.is_empty() {
                state.queue = VecDeque::new();
            }
            return Poll::Ready(Delivery::Item(item));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes nothing more from now on and gives up what waits.
    pub(crate) fn close(&self) -> VecDeque<Item> {
        let mut state = self.lock();
        state.closed = true;
        state.waker = None;
        state.bytes = 0;
        std::mem::take(&mut state.queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Item {
    fn weight(&self) -> usize {
        let inside = match self {
            Self::Frame(frame) => frame.len(),
            Self::Info(info) => info.message.weight(),
        };
        size_of::<Self>() + inside
    }
}

/// Wakes the session after the lock is released, so that it does not wake up to wait for it.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use fedecks_protocol::CloseCode;

    use super::*;

    const BOUNDS: Bounds = Bounds { items: 3, bytes: 1000 };

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn frame(size: usize) -> Item {
        Item::Frame(vec![0; size].into())
    }

    fn poll(mailbox: &Mailbox) -> Poll<Delivery> {
        mailbox.poll(&mut Context::from_waker(Waker::noop()), true)
    }

    fn close(code: CloseCode) -> Order {
        Order::Close(CloseReason::new(code))
    }

    #[test]
    fn items_come_out_in_order_and_wake_the_session() {
        let mailbox = Mailbox::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        assert!(mailbox.poll(&mut Context::from_waker(&waker), true).is_pending());
        mailbox.put(frame(1), &BOUNDS).unwrap();
        mailbox.put(frame(2), &BOUNDS).unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        for expected in [1, 2] {
            let Poll::Ready(Delivery::Item(Item::Frame(frame))) = poll(&mailbox) else {
                panic!("no frame");
            };
            assert_eq!(frame.len(), expected);
        }
        assert!(poll(&mailbox).is_pending());
    }

    #[test]
    fn a_mailbox_holds_so_many_items_and_so_many_bytes() {
        let mailbox = Mailbox::default();
        for _ in 0..3 {
            mailbox.put(frame(1), &BOUNDS).unwrap();
        }
        assert_eq!(mailbox.put(frame(1), &BOUNDS), Err(PutError::Full));

        let mailbox = Mailbox::default();
        mailbox.put(frame(600), &BOUNDS).unwrap();
        assert_eq!(mailbox.put(frame(600), &BOUNDS), Err(PutError::Full));
        mailbox.put(frame(100), &BOUNDS).unwrap();
    }

    #[test]
    fn a_single_item_may_be_bigger_than_the_bound() {
        let mailbox = Mailbox::default();
        mailbox.put(frame(5000), &BOUNDS).unwrap();
        assert!(poll(&mailbox).is_ready());
        mailbox.put(frame(5000), &BOUNDS).unwrap();
    }

    #[test]
    fn an_order_passes_everything_and_the_first_one_counts() {
        let mailbox = Mailbox::default();
        for _ in 0..3 {
            mailbox.put(frame(1), &BOUNDS).unwrap();
        }
        assert!(mailbox.order(close(CloseCode::Replaced)));
        assert!(!mailbox.order(close(CloseCode::Restart)));
        let Poll::Ready(Delivery::Order(order)) = poll(&mailbox) else { panic!("no order") };
        assert_eq!(order, close(CloseCode::Replaced));
        assert_eq!(mailbox.put(frame(1), &BOUNDS), Err(PutError::Closed));
        assert_eq!(mailbox.close().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_overflow_ends_the_session_only_if_its_device_reads_nothing() {
        let mailbox = Mailbox::default();
        for _ in 0..3 {
            mailbox.put(frame(1), &BOUNDS).unwrap();
        }
        assert_eq!(mailbox.put(frame(1), &BOUNDS), Err(PutError::Full));
        assert!(matches!(poll(&mailbox), Poll::Ready(Delivery::Item(_))));

        mailbox.put(frame(1), &BOUNDS).unwrap();
        mailbox.set_stalled(Some(Instant::now()));
        tokio::time::advance(READS_NOTHING / 2).await;
        assert_eq!(mailbox.put(frame(1), &BOUNDS), Err(PutError::Full));
        assert!(matches!(poll(&mailbox), Poll::Ready(Delivery::Item(_))));

        mailbox.put(frame(1), &BOUNDS).unwrap();
        tokio::time::advance(READS_NOTHING).await;
        assert_eq!(mailbox.put(frame(1), &BOUNDS), Err(PutError::Full));
        assert!(matches!(poll(&mailbox), Poll::Ready(Delivery::Order(Order::TooSlow))));
    }

    #[test]
    fn an_empty_mailbox_holds_no_memory() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.lock().queue.capacity(), 0);
        mailbox.put(frame(1), &BOUNDS).unwrap();
        assert!(poll(&mailbox).is_ready());
        assert_eq!(mailbox.lock().queue.capacity(), 0);
    }

    #[test]
    fn a_closed_mailbox_takes_nothing() {
        let mailbox = Mailbox::default();
        mailbox.close();
        assert_eq!(mailbox.put(frame(1), &BOUNDS), Err(PutError::Closed));
        assert!(!mailbox.order(Order::TooSlow));
    }
}
