//! The bounded queue of one session.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fedecks_protocol::CloseReason;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::messaging::message::Info;

/// The bounded queue of one session. Allocates nothing while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<State>);

/// How much may wait for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    /// Approximate number of bytes. A single item may be bigger.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) enum Item {
    /// An encoded frame for the device.
    Frame(Bytes),
    /// A published message, for the handler.
    Info(Info),
}

/// Ends the session, ahead of all items in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCommand {
    Close(CloseReason),
    /// The queue overflowed.
    TooSlow,
}

#[derive(Debug)]
pub(crate) enum Delivery {
    Close(CloseCommand),
    Item(Item),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the session has ended")]
    Closed,
    #[error("the session's queue is full")]
    Full,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    close_command: Option<CloseCommand>,
    waker: Option<Waker>,
    /// When the device stopped accepting the bytes that are ready for it.
    stalled_since: Option<Instant>,
    closed: bool,
}

/// A device that accepts nothing for this long while its queue is full counts as one that does not read.
/// A device on a slow link accepts something every now and then.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

impl Mailbox {
    /// Adds an item to the queue. If the queue is full because the device does not read, the session is
    /// ended.
    pub(crate) fn send(&self, item: Item, bounds: &Bounds) -> Result<(), SendError> {
        let mut state = self.0.lock();
        if state.closed || state.close_command.is_some() {
            return Err(SendError::Closed);
        }
        let weight = item.weight();
        let fits = state.queue.len() < bounds.items && state.bytes + weight <= bounds.bytes;
        if !fits && !state.queue.is_empty() {
            if state.stalled_since.is_some_and(|since| since.elapsed() >= STALL_TIMEOUT) {
                state.close_command = Some(CloseCommand::TooSlow);
                wake(state);
            }
            return Err(SendError::Full);
        }
        state.bytes += weight;
        state.queue.push_back(item);
        wake(state);
        Ok(())
    }

    /// Ends the session; returns false if it has ended already, or another command came first.
    pub(crate) fn end_session(&self, command: CloseCommand) -> bool {
        let mut state = self.0.lock();
        if state.closed || state.close_command.is_some() {
            return false;
        }
        state.close_command = Some(command);
        wake(state);
        true
    }

    /// Sets since when the device has accepted none of the bytes that are ready for it; `None` if there
    /// are none.
    pub(crate) fn set_stalled(&self, since: Option<Instant>) {
        self.0.lock().stalled_since = since;
    }

    /// Returns the close command, if there is one, or else the next item, if `items` are wanted.
    /// Otherwise the task is woken when something arrives.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, items: bool) -> Poll<Delivery> {
        let mut state = self.0.lock();
        if let Some(command) = state.close_command {
            return Poll::Ready(Delivery::Close(command));
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

    /// Accepts nothing from now on and returns the items in the queue.
    pub(crate) fn close(&self) -> VecDeque<Item> {
        let mut state = self.0.lock();
        state.closed = true;
        state.waker = None;
        state.bytes = 0;
        std::mem::take(&mut state.queue)
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

/// Wakes the session after releasing the lock, which the session would otherwise wait for.
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

    /// Sends a frame of each size.
    fn send(mailbox: &Mailbox, sizes: &[usize]) -> Result<(), SendError> {
        sizes.iter().try_for_each(|size| mailbox.send(frame(*size), &BOUNDS))
    }

    fn with(sizes: &[usize]) -> Mailbox {
        let mailbox = Mailbox::default();
        send(&mailbox, sizes).unwrap();
        mailbox
    }

    fn poll(mailbox: &Mailbox) -> Poll<Delivery> {
        mailbox.poll(&mut Context::from_waker(Waker::noop()), true)
    }

    #[test]
    fn items_are_delivered_in_order_and_wake_the_session() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.0.lock().queue.capacity(), 0);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        assert!(mailbox.poll(&mut Context::from_waker(&waker), true).is_pending());
        send(&mailbox, &[1, 2]).unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        for expected in [1, 2] {
            let Poll::Ready(Delivery::Item(Item::Frame(frame))) = poll(&mailbox) else {
                panic!("no frame");
            };
            assert_eq!(frame.len(), expected);
        }
        assert!(poll(&mailbox).is_pending());
        assert_eq!(mailbox.0.lock().queue.capacity(), 0, "an empty mailbox has no allocation");
    }

    #[test]
    fn items_and_bytes_are_bounded() {
        assert_eq!(send(&with(&[1, 1, 1]), &[1]), Err(SendError::Full));
        let mailbox = with(&[600]);
        assert_eq!(send(&mailbox, &[600]), Err(SendError::Full));
        assert_eq!(send(&mailbox, &[100]), Ok(()));
    }

    #[test]
    fn a_single_item_may_be_bigger_than_the_bound() {
        let mailbox = with(&[5000]);
        assert!(poll(&mailbox).is_ready());
        assert_eq!(send(&mailbox, &[5000]), Ok(()));
    }

    #[test]
    fn the_first_close_command_overtakes_all_items() {
        let close = |code| CloseCommand::Close(CloseReason::new(code));
        let mailbox = with(&[1, 1, 1]);
        assert!(mailbox.end_session(close(CloseCode::Replaced)));
        assert!(!mailbox.end_session(close(CloseCode::Restart)));
        let Poll::Ready(Delivery::Close(command)) = poll(&mailbox) else { panic!("no command") };
        assert_eq!(command, close(CloseCode::Replaced));
        assert_eq!(send(&mailbox, &[1]), Err(SendError::Closed));
        assert_eq!(mailbox.close().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_overflow_ends_the_session_only_if_the_device_is_stalled() {
        let mailbox = with(&[1, 1, 1]);
        let overflow = || {
            assert_eq!(send(&mailbox, &[1]), Err(SendError::Full));
            poll(&mailbox)
        };
        assert!(matches!(overflow(), Poll::Ready(Delivery::Item(_))));

        send(&mailbox, &[1]).unwrap();
        mailbox.set_stalled(Some(Instant::now()));
        tokio::time::advance(STALL_TIMEOUT / 2).await;
        assert!(matches!(overflow(), Poll::Ready(Delivery::Item(_))));

        send(&mailbox, &[1]).unwrap();
        tokio::time::advance(STALL_TIMEOUT).await;
        assert!(matches!(overflow(), Poll::Ready(Delivery::Close(CloseCommand::TooSlow))));
    }

    #[test]
    fn a_closed_mailbox_accepts_nothing() {
        let mailbox = Mailbox::default();
        mailbox.close();
        assert_eq!(send(&mailbox, &[1]), Err(SendError::Closed));
        assert!(!mailbox.end_session(CloseCommand::TooSlow));
    }
}
