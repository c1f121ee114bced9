//! The calls of the store for kept messages to a device, and what they tell the handler.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fedecks_protocol::{DeviceId, Lane};
use fedecks_store::{Acknowledged, Acknowledgement, DownEntry, DownRoom, DownState};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::memory::Memory;
use super::next::{Call, Called, Fetched, Next};
use crate::messaging::down::{DeviceQueue, SettledMessage};
use crate::messaging::hub::Hub;

/// Makes calls for the device of a session.
#[derive(Clone)]
pub(in crate::session) struct Caller {
    hub: Hub,
    queue: Arc<DeviceQueue>,
    device: DeviceId,
}

/// How often a session looks whether older ones have ended, and how long.
const OLDER_POLL: Duration = Duration::from_millis(20);
const OLDER_WAIT: Duration = Duration::from_secs(10);

impl Caller {
    /// `None` if the cloud keeps no messages for devices.
    pub(in crate::session) fn new(hub: &Hub, device: &DeviceId) -> Option<Self> {
        let queue = hub.device_queue()?.clone();
        Some(Self { hub: hub.clone(), queue, device: device.clone() })
    }

    pub(in crate::session) fn call(self, lane: Lane, next: Next) -> Call {
        match next {
            // A fleet that connects must not be in front of an urgent message.
            Next::Peek { is_woken: false } => Box::pin(self.peek(lane, Lane::Normal)),
            Next::Peek { is_woken: true } => Box::pin(self.peek(lane, lane)),
            Next::Acknowledge(acknowledgement) if acknowledgement.resumed => {
                Box::pin(self.acknowledge_resumed(lane, acknowledgement))
            }
            Next::Acknowledge(acknowledgement) => in_task(self.acknowledge(lane, acknowledgement)),
            Next::Renumber => Box::pin(async move {
                let _turn = self.queue.turn(lane).await;
                Called::Renumbered(self.queue.store.renumber(&self.device, lane).await)
            }),
            Next::Fetch(after, room) => in_task(self.fetch(lane, after, room)),
        }
    }

    /// Stores an acknowledgement whatever happens to the session.
    pub(in crate::session) fn acknowledge_at_end(self, lane: Lane, last: Acknowledgement) {
        tokio::spawn(self.acknowledge(lane, last));
    }

    async fn peek(self, lane: Lane, turn: Lane) -> Called {
        // Calls of older sessions must not come after those of this one.
        let until = Instant::now() + OLDER_WAIT;
        while self.hub.registry().is_ending(&self.device) && Instant::now() < until {
            tokio::time::sleep(OLDER_POLL).await;
        }
        let _turn = self.queue.turn(turn).await;
        let (now, nothing) = (self.queue.clock.now(), DownRoom { messages: 0, bytes: 0 });
        Called::Peeked(self.queue.store.window(&self.device, lane, 0, nothing, now).await)
    }

    async fn acknowledge(self, lane: Lane, acknowledgement: Acknowledgement) -> Called {
        let _turn = self.queue.turn(lane).await;
        self.settle(acknowledgement).await
    }

    /// Not made at all if the session ends before its turn: a newer session may be the next to call.
    async fn acknowledge_resumed(self, lane: Lane, acknowledgement: Acknowledgement) -> Called {
        let turn = self.queue.turn(lane).await;
        let settle = async move {
            let _turn = turn;
            self.settle(acknowledgement).await
        };
        Finish(Some(Box::pin(settle))).await
    }

    async fn settle(&self, acknowledgement: Acknowledgement) -> Called {
        let (again, now) = (acknowledgement.clone(), self.queue.clock.now());
        let answer = self.queue.store.acknowledge(&self.device, acknowledgement, now).await;
        if let Ok(Acknowledged::Settled(settled)) = &answer {
            let settled: Vec<_> =
                settled.iter().map(|(id, state)| SettledMessage::new(*id, *state)).collect();
            if !self.queue.settled(&self.device, &settled) {
                return Called::Panicked;
            }
        }
        Called::Acknowledged(again, answer)
    }

    async fn fetch(self, lane: Lane, after: u64, room: DownRoom) -> Called {
        let _turn = self.queue.turn(lane).await;
        let Some(mut memory) = Memory::take(self.hub.outgoing(), lane, room.bytes) else {
            return Called::NoRoom;
        };
        let now = self.queue.clock.now();
        let window = self.queue.store.window(&self.device, lane, after, room, now).await;
        if let Ok(Some(window)) = &window {
            memory.change(window.entries.iter().map(size).sum());
            let expired = window.expired.iter();
            let expired: Vec<_> =
                expired.map(|id| SettledMessage::new(*id, DownState::Expired)).collect();
            if !self.queue.settled(&self.device, &expired) {
                return Called::Panicked;
            }
        }
        Called::Fetched(Fetched { after, window, _memory: memory })
    }
}

/// Once it was polled, a call that continues in a task when it is dropped: the store may have begun with it, and the
/// handler has to learn what is stored.
struct Finish(Option<Call>);

impl Future for Finish {
    type Output = Called;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Called> {
        let Some(call) = &mut self.0 else { return Poll::Ready(Called::Panicked) };
        let called = call.as_mut().poll(context);
        if called.is_ready() {
            self.0 = None;
        }
        called
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        // There is none when the runtime ends.
        if let (Some(rest), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}

/// In a task, so that the handler learns of what is stored although the session ends in the meantime.
fn in_task(call: impl Future<Output = Called> + Send + 'static) -> Call {
    let task = tokio::spawn(call);
    Box::pin(async move { task.await.unwrap_or(Called::Panicked) })
}

fn size(entry: &DownEntry) -> usize {
    match entry {
        DownEntry::Message(message) => message.body.len(),
        DownEntry::Void { .. } => 0,
    }
}
