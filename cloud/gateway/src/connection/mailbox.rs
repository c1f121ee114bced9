//! The bounded queue of one session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fedecks_protocol::{CloseCode, CloseReason};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::byte_pool::{BytePool, FREE, QueuedHold};
use crate::connection::ask::Ask;
use crate::messaging::message::Published;

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
    Published(Published),
    /// A request for the device.
    Ask(Box<Ask>),
}

/// Ends the session, ahead of all items in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCommand {
    Close(CloseReason),
    /// The queue overflowed.
    TooSlow,
    /// A message published for the device does not fit into the memory for all sessions, and it must not miss it.
    NoMemory,
}

impl CloseCommand {
    /// The device connects again after this time, at least a second.
    pub(crate) fn restart(delay: Duration) -> Self {
        Self::Close(CloseReason::retry_after(CloseCode::Restart, delay.max(Duration::from_secs(1))))
    }
}

#[derive(Debug)]
pub(crate) enum Delivery {
    Close(CloseCommand),
    Item(Item),
    /// Kept messages wait in the store for the device.
    Kept,
    /// There is an item, and no memory to send what the handler makes out of it.
    NoRoom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the session has ended")]
    Closed,
    #[error("the session's queue is full")]
    Full,
    #[error("the queues of all sessions are full")]
    NoMemory,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Waiting>,
    /// The size of all items.
    bytes: u32,
    /// The part of it that takes its own memory, and counts in the sum of all sessions.
    owned: u32,
    close_command: Option<CloseCommand>,
    waker: Option<Waker>,
    /// When the device stopped accepting the bytes that are ready for it.
    stalled_since: Option<Instant>,
    closed: bool,
    /// Kept messages wait in the store.
    kept: bool,
}

#[derive(Debug)]
struct Waiting {
    item: Item,
    bytes: u32,
    owned: u32,
    /// Counts the content that other mailboxes have as well.
    _shared: Option<Arc<QueuedHold>>,
}

/// A device that accepts nothing for this long while its queue is full counts as one that does not read.
/// A device on a slow link accepts something every now and then.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

impl Mailbox {
    /// Adds an item to the queue. If the queue is full because the device does not read, the session is ended.
    /// Content that others have as well is counted by `shared`. It is in memory already, so a session in whose queue
    /// nothing waits takes it although the sum is exceeded, but not more than twice.
    pub(crate) fn send(
        &self,
        item: Item,
        bounds: &Bounds,
        sum: &BytePool,
        shared: Option<&Arc<QueuedHold>>,
    ) -> Result<(), SendError> {
        let mut state = self.0.lock();
        if state.closed || state.close_command.is_some() {
            return Err(SendError::Closed);
        }
        let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let content = item.content();
        let bytes = number(size_of::<Waiting>() + content);
        let owned = number(size_of::<Waiting>() + if shared.is_some() { 0 } else { content });
        let all = state.bytes.saturating_add(bytes);
        let all_owned = state.owned.saturating_add(owned);
        let fits = state.queue.len() < bounds.items && all as usize <= bounds.bytes;
        let fits = fits || state.queue.is_empty();
        let times = if state.bytes as usize > FREE { 1 } else { 2 };
        let refused = !fits
            || (shared.is_some() && sum.is_exceeded(times))
            || !sum.try_queue(state.owned as usize, all_owned as usize);
        if refused {
            if state.stalled_since.is_some_and(|since| since.elapsed() >= STALL_TIMEOUT) {
                state.close_command = Some(CloseCommand::TooSlow);
                wake(state);
            }
            return Err(if fits { SendError::NoMemory } else { SendError::Full });
        }
        (state.bytes, state.owned) = (all, all_owned);
        state.queue.push_back(Waiting { item, bytes, owned, _shared: shared.cloned() });
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
    /// Unless it is an item, the task is woken when something arrives. The weight of a published message counts as being
    /// sent from then on, until the session gives it back.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, items: bool, sum: &BytePool) -> Poll<Delivery> {
        let mut state = self.0.lock();
        if let Some(command) = state.close_command {
            state.wake_later(cx);
            return Poll::Ready(Delivery::Close(command));
        }
        if std::mem::take(&mut state.kept) {
            return Poll::Ready(Delivery::Kept);
        }
        let mut no_room = false;
        if let Some(Waiting { item: Item::Published(info), .. }) =
            state.queue.front().filter(|_| items)
        {
            no_room = !sum.try_send(info.message.weight());
        }
        if let Some(next) = (items && !no_room).then(|| state.queue.pop_front()).flatten() {
            let owned = state.owned.saturating_sub(next.owned);
            sum.unqueue(state.owned as usize, owned as usize);
            (state.bytes, state.owned) = (state.bytes.saturating_sub(next.bytes), owned);
            if state.queue.is_empty() {
                state.queue = VecDeque::new();
            }
            return Poll::Ready(Delivery::Item(next.item));
        }
        state.wake_later(cx);
        if no_room { Poll::Ready(Delivery::NoRoom) } else { Poll::Pending }
    }

    /// Wakes the session, which may have a deadline now.
    pub(crate) fn wake(&self) {
        wake(self.0.lock());
    }

    /// Has the session look for kept messages in the store.
    pub(crate) fn wake_for_kept(&self) {
        let mut state = self.0.lock();
        if !state.closed && !std::mem::replace(&mut state.kept, true) {
            wake(state);
        }
    }

    /// How many bytes wait, approximately.
    pub(crate) fn bytes(&self) -> u32 {
        self.0.lock().bytes
    }

    /// Accepts nothing from now on and returns the items in the queue.
    pub(crate) fn close(&self, sum: &BytePool) -> Vec<Item> {
        let mut state = self.0.lock();
        state.closed = true;
        state.waker = None;
        sum.unqueue(state.owned as usize, 0);
        (state.bytes, state.owned) = (0, 0);
        std::mem::take(&mut state.queue).into_iter().map(|waiting| waiting.item).collect()
    }
}

impl State {
    fn wake_later(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

impl Item {
    /// Approximate size of the content, in bytes.
    fn content(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.len(),
            Self::Published(info) => info.message.weight(),
            Self::Ask(ask) => size_of::<Ask>() + ask.content.size(),
        }
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
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use fedecks_protocol::{CloseCode, Term};

    use super::*;
    use crate::messaging::message::Message;

    const BOUNDS: Bounds = Bounds { items: 3, bytes: 1000 };
    static SUM: LazyLock<BytePool> = LazyLock::new(|| BytePool::new(usize::MAX));

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
        sizes.iter().try_for_each(|size| mailbox.send(frame(*size), &BOUNDS, &SUM, None))
    }

    fn with(sizes: &[usize]) -> Mailbox {
        let mailbox = Mailbox::default();
        send(&mailbox, sizes).unwrap();
        mailbox
    }

    fn poll(mailbox: &Mailbox) -> Poll<Delivery> {
        mailbox.poll(&mut Context::from_waker(Waker::noop()), true, &SUM)
    }

    #[test]
    fn items_are_delivered_in_order_and_wake_the_session() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.0.lock().queue.capacity(), 0);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        assert!(mailbox.poll(&mut Context::from_waker(&waker), true, &SUM).is_pending());
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
        assert_eq!(mailbox.close(&SUM).len(), 3);
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
    fn all_mailboxes_share_a_sum() {
        let sum = Arc::new(BytePool::new(10_000));
        let bounds = Bounds { items: 10, bytes: usize::MAX };
        let [one, other, third] = [(); 3].map(|()| Mailbox::default());
        let send = |mailbox: &Mailbox, size| mailbox.send(frame(size), &bounds, &sum, None);
        send(&one, 10_000).unwrap();
        assert_eq!(send(&one, 2_000), Ok(()));
        assert_eq!(send(&one, 2_000), Err(SendError::NoMemory), "a part is for others");
        assert_eq!(send(&other, 10_000), Err(SendError::NoMemory));
        assert_eq!(send(&other, 1_000), Ok(()), "a small message always passes");
        // The first two with the second, which became free.
        let poll =
            |mailbox: &Mailbox| mailbox.poll(&mut Context::from_waker(Waker::noop()), true, &sum);
        assert!(poll(&one).is_ready());
        assert_eq!(send(&other, 10_000), Ok(()));
        let message = Message::from(Term::from("x".repeat(10_000)));
        let info = || Item::Published(Published { topic: "t".into(), message: message.clone() });
        let shared = Arc::new(sum.hold_queued(10_000));
        assert_eq!(third.send(info(), &bounds, &sum, Some(&shared)), Ok(()), "nothing waits");
        assert_eq!(
            third.send(info(), &bounds, &sum, Some(&shared)),
            Err(SendError::NoMemory),
            "it would take more of what is exceeded"
        );
        drop(shared);
        let sending = sum.hold(10_000);
        assert!(matches!(poll(&third), Poll::Ready(Delivery::NoRoom)));
        drop(sending);
        assert!(matches!(poll(&third), Poll::Ready(Delivery::Item(Item::Published(_)))));
        sum.change(message.weight(), 0);
        assert_eq!([&one, &other].map(|mailbox| mailbox.close(&sum).len()), [1, 2]);
        assert_eq!(sum.used(), 0);
    }

    #[test]
    fn a_closed_mailbox_accepts_nothing() {
        let mailbox = Mailbox::default();
        mailbox.close(&SUM);
        assert_eq!(send(&mailbox, &[1]), Err(SendError::Closed));
        assert!(!mailbox.end_session(CloseCommand::TooSlow));
    }

    #[test]
    fn what_waits_already_leaves_room_for_others() {
        let sum = BytePool::new(100_000);
        let bounds = Bounds { items: 1000, bytes: usize::MAX };
        let [slow, healthy] = [(); 2].map(|()| Mailbox::default());
        while slow.send(frame(1000), &bounds, &sum, None).is_ok() {}
        assert_eq!(healthy.send(frame(15_000), &bounds, &sum, None), Ok(()));
    }

    #[test]
    fn what_is_taken_to_be_sent_takes_room_from_others() {
        let sum = BytePool::new(40_000);
        let bounds = Bounds { items: 1000, bytes: usize::MAX };
        let message = Message::from(Term::from("x".repeat(15_000)));
        let [one, other] = [(); 2].map(|()| {
            let mailbox = Mailbox::default();
            let info = Item::Published(Published { topic: "t".into(), message: message.clone() });
            mailbox.send(info, &bounds, &sum, None).unwrap();
            mailbox
        });
        let poll =
            |mailbox: &Mailbox| mailbox.poll(&mut Context::from_waker(Waker::noop()), true, &sum);
        assert!(matches!(poll(&one), Poll::Ready(Delivery::Item(Item::Published(_)))));
        assert!(matches!(poll(&other), Poll::Ready(Delivery::NoRoom)));
    }
}
