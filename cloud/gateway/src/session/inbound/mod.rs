//! The kept messages of a session: from their frames to what is stored and acknowledged. It does no I/O.

mod batch;
mod hold;

use std::time::{Duration, SystemTime};

use fedecks_delivery::{Credit, Outcome as Done, Position, Receiver, Violation};
use fedecks_protocol::{Ack, DeliveryFrame, Kept, Resume, Skip, Tag};
use fedecks_store::{Fence, OpenStreams, Step, StreamPosition};

pub(super) use self::batch::Batch;
use self::batch::Pending;
use self::hold::Holds;
use crate::messaging::kept::{Effects, KeptContent, KeptMessage};

/// Exists from the first stream that the device announces.
pub(super) struct Inbound {
    receiver: Receiver,
    /// The positions of streams that the device has not announced on this connection; `None` before the store was
    /// asked.
    known: Option<Vec<StreamPosition>>,
    pub(super) fence: Fence,
    pub(super) batch: Batch,
    /// What of the batch is counted as memory, in bytes.
    pub(super) counted: usize,
    holds: Holds,
    /// Numbers that were rejected on earlier connections, by the handle of their stream: the next acknowledgement
    /// repeats them.
    rejected_before: Vec<(u64, Vec<u64>)>,
    /// The message that the handler has.
    pub(super) handling: Option<Handling>,
}

/// A message that the handler has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handling {
    handle: u64,
    pub(super) position: StreamPosition,
}

/// What follows a frame.
pub(super) enum Arrival {
    /// Nothing.
    Nothing,
    /// A stream is announced, and the positions of the device are not known yet.
    Load(Resume),
    /// A stream is announced.
    Resume(Resume),
    /// The handler gets a message.
    Handle(Box<KeptMessage>),
    /// A finished stream is forgotten.
    Forget(fedecks_protocol::StreamId),
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self {
            receiver: Receiver::new(Credit::MAX),
            known: None,
            fence: Fence(0),
            batch: Batch::default(),
            counted: 0,
            holds: Holds::default(),
            rejected_before: Vec::new(),
            handling: None,
        }
    }

    /// The positions from the store.
    pub(super) fn restore(&mut self, OpenStreams { fence, positions }: OpenStreams) {
        self.fence = fence;
        self.known = Some(positions);
    }

    /// Takes a frame. `decode` makes the content of a message.
    pub(super) fn on_frame(
        &mut self,
        frame: DeliveryFrame,
        decode: impl FnOnce(fedecks_protocol::Content) -> Option<KeptContent>,
        now: Duration,
    ) -> Result<Arrival, Violation> {
        match frame {
            DeliveryFrame::Resume(resume) if self.known.is_none() => {
                return Ok(Arrival::Load(resume));
            }
            DeliveryFrame::Resume(resume) => return Ok(Arrival::Resume(resume)),
            DeliveryFrame::Kept(kept) => return self.on_kept(kept, decode, now),
            DeliveryFrame::Skip(skip) => self.on_skip(&skip, now)?,
            DeliveryFrame::Close { handle } => {
                self.holds.forget(handle);
                return self.receiver.on_close(handle).map(Arrival::Forget);
            }
            // Of streams to the device, of which there are none.
            DeliveryFrame::Ack(Ack { handle, .. }) | DeliveryFrame::Rewind { handle, .. } => {
                return Err(Violation::UnknownStream { handle });
            }
        }
        Ok(Arrival::Nothing)
    }

    /// Answers an announced stream, of which these numbers were rejected before.
    pub(super) fn resume(
        &mut self,
        resume: &Resume,
        rejected: Vec<u64>,
        now: Duration,
    ) -> Result<(), Violation> {
        let known = self.known.get_or_insert_default();
        if let Some(at) = known.iter().position(|known| known.stream == resume.stream) {
            let StreamPosition { stream, lane, up_to, tag } = known.swap_remove(at);
            self.receiver.restore(stream, lane, Position { up_to, tag });
        }
        let gap = self.receiver.on_resume(resume)?;
        if !rejected.is_empty() {
            self.rejected_before.push((resume.handle, rejected));
        }
        let Some(gap) = gap else { return Ok(()) };
        if gap.is_known {
            let (from, to) = (gap.from, gap.to);
            tracing::warn!(
                from,
                to,
                "the store was set back: the device has kept messages no longer that it has not"
            );
        }
        let to = StreamPosition {
            stream: gap.advance.stream,
            lane: gap.advance.lane,
            up_to: gap.advance.to.up_to,
            tag: gap.advance.to.tag,
        };
        let step = Step { from: gap.advance.from, to, effects: fedecks_store::Effects::default() };
        self.batch.push(Pending { done: None, step, then: None }, 0, now);
        Ok(())
    }

    fn on_kept(
        &mut self,
        kept: Kept,
        decode: impl FnOnce(fedecks_protocol::Content) -> Option<KeptContent>,
        now: Duration,
    ) -> Result<Arrival, Violation> {
        let Kept { handle, sequence, tag, sent_at_ms, redelivered, content } = kept;
        let size = content.size() as u64;
        if !self.receiver.on_message(handle, (sequence, tag, size))? {
            return Ok(Arrival::Nothing);
        }
        let unknown = Violation::UnknownStream { handle };
        let (stream, lane) = self.receiver.stream(handle).ok_or(unknown)?;
        let position = StreamPosition { stream, lane, up_to: sequence, tag };
        self.handling = Some(Handling { handle, position });
        let Some(content) = decode(content) else {
            self.reject(now);
            return Ok(Arrival::Nothing);
        };
        let sent_at = sent_at_ms.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        let id = tag;
        let message = KeptMessage { id, stream, sequence, lane, redelivered, sent_at, content };
        Ok(Arrival::Handle(Box::new(message)))
    }

    fn on_skip(&mut self, skip: &Skip, now: Duration) -> Result<(), Violation> {
        if !self.receiver.on_skip(skip)? {
            return Ok(());
        }
        let unknown = Violation::UnknownStream { handle: skip.handle };
        let (stream, lane) = self.receiver.stream(skip.handle).ok_or(unknown)?;
        let (from, to, reason) = (skip.from, skip.to, skip.reason.as_str());
        let messages = to - from + 1;
        tracing::info!(messages, reason, "kept messages of the device were dropped there");
        let position = StreamPosition { stream, lane, up_to: to, tag: Tag(0) };
        let handling = Handling { handle: skip.handle, position };
        self.complete(handling, from - 1, Done::Processed, Effects::default(), now);
        Ok(())
    }

    /// The handler is done with its message.
    pub(super) fn accept(&mut self, effects: Effects, now: Duration) {
        if let Some(handling) = self.handling.take() {
            let from = handling.position.up_to - 1;
            self.complete(handling, from, Done::Processed, effects, now);
        }
    }

    /// The message is rejected for good.
    pub(super) fn reject(&mut self, now: Duration) {
        if let Some(handling) = self.handling.take() {
            let from = handling.position.up_to - 1;
            self.complete(handling, from, Done::Rejected, Effects::default(), now);
        }
    }

    fn complete(
        &mut self,
        handling: Handling,
        from: u64,
        done: Done,
        effects: Effects,
        now: Duration,
    ) {
        let size = effects.size();
        let step = Step { from, to: handling.position, effects: effects.stored };
        let done = Some((handling.handle, handling.position.up_to, done));
        self.batch.push(Pending { done, step, then: effects.then }, size, now);
    }

    /// The handler wants the message of a stream later. What is done before it has to be stored first.
    pub(super) fn later(&mut self, now: Duration) {
        if let Some(Handling { handle, .. }) = self.handling.take() {
            self.holds.hold(handle, now);
            self.let_go();
        }
    }

    /// Lets go of what arrived of held streams, unless a part of it waits to be stored.
    fn let_go(&mut self) {
        if self.batch.is_empty() {
            let Self { holds, receiver, .. } = self;
            holds.apply(|handle| receiver.rewind(handle));
        }
    }

    /// Whether the batch is to be stored before another frame is handled.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.batch.is_due(now) || (self.holds.is_pending() && !self.batch.is_empty())
    }

    /// The first `count` steps of the batch are stored: they may be acknowledged. Returns what to call.
    pub(super) fn stored(
        &mut self,
        batch: Batch,
        count: usize,
        now: Duration,
    ) -> Vec<Box<dyn FnOnce() + Send>> {
        let mut then = Vec::new();
        for pending in batch.into_pending().into_iter().take(count) {
            if let Some((handle, sequence, done)) = pending.done {
                self.holds.succeeded(handle);
                self.receiver.done(handle, sequence, done, now);
            }
            then.extend(pending.then);
        }
        self.let_go();
        then
    }

    /// The batch could not be stored. The device repeats it after a while.
    pub(super) fn not_stored(&mut self, batch: Batch, now: Duration) {
        for pending in batch.into_pending() {
            if let Some((handle, ..)) = pending.done {
                self.holds.hold(handle, now);
            }
        }
        self.let_go();
    }

    /// A frame that is due: an acknowledgement, or the request to repeat what was held.
    pub(super) fn poll_frame(&mut self, now: Duration) -> Option<DeliveryFrame> {
        if let Some((handle, to)) = self.holds.poll(now) {
            return Some(DeliveryFrame::Rewind { handle, to });
        }
        let mut ack = self.receiver.poll_ack(now)?;
        let before = self.rejected_before.iter().position(|(handle, _)| *handle == ack.handle);
        if let Some(at) = before {
            let (_, mut rejected) = self.rejected_before.swap_remove(at);
            rejected.append(&mut ack.rejected);
            ack.rejected = rejected;
        }
        Some(DeliveryFrame::Ack(ack))
    }

    /// When a frame is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        [self.receiver.ack_deadline(), self.holds.next()].into_iter().flatten().min()
    }
}
