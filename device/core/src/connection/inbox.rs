//! Kept messages from the cloud: what the application has got and not acknowledged, and what the cloud learns.

use std::collections::VecDeque;

use fedecks_delivery::{Credit, Outcome, Position, Receiver, Violation};
use fedecks_protocol::{
    Ack, Capabilities, DeliveryFrame, DeliveryOffer, InstallationId, Kept, Skip, Tag,
};

use super::output::Output;
use crate::action::{Action, Notice};
use crate::delivery::{DeliveryKey, InboxStatus, KeptDelivery, Positions, StreamPosition};
use crate::time::Time;
use crate::timers::Timer;

#[derive(Debug)]
pub(super) struct Inbox {
    receiver: Receiver,
    /// The cloud that the positions belong to; `None` before the first one that takes kept messages.
    installation: Option<InstallationId>,
    /// What the application has and has not acknowledged, over all connections.
    open: Vec<Open>,
    /// What it has acknowledged and the receiver does not know, because that connection had ended.
    settled: VecDeque<(Tag, Outcome)>,
    last_key: u64,
    /// A position has moved since the positions were last stored.
    is_moved: bool,
}

/// A message that the application has.
#[derive(Debug)]
struct Open {
    key: DeliveryKey,
    tag: Tag,
    size: u64,
    /// Its stream and number on the current connection, once it has arrived there.
    at: Option<(u64, u64)>,
}

/// How many bytes the application may have in all. A cloud that keeps to the credit needs less than this, as long as it
/// has one stream in each lane.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// How many acknowledgements of earlier connections are remembered: the credit of both lanes.
const MAX_SETTLED: usize = 128;

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            receiver: Receiver::new(Credit::MAX),
            installation: None,
            open: Vec::new(),
            settled: VecDeque::new(),
            last_key: 0,
            is_moved: false,
        }
    }

    /// The positions of an earlier run.
    pub(super) fn restore(&mut self, positions: &Positions) {
        self.installation = Some(positions.installation);
        for it in positions.streams.iter().take(Positions::MAX) {
            let position = Position { up_to: it.up_to, tag: it.tag };
            self.receiver.restore(it.stream, it.lane, position);
        }
    }

    /// A cloud has said what it takes.
    pub(super) fn connect(&mut self, offer: &DeliveryOffer) {
        if !offer.capabilities.contains(Capabilities::KEPT_MESSAGES) {
            return;
        }
        let known = self.installation.replace(offer.installation);
        if known.is_some_and(|known| known != offer.installation) {
            self.receiver = Receiver::new(Credit::MAX);
            self.settled.clear();
            self.is_moved = true;
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.receiver.disconnect();
        self.open.iter_mut().for_each(|it| it.at = None);
    }

    /// Handles a frame of a stream from the cloud.
    pub(super) fn on_frame(
        &mut self,
        now: Time,
        frame: DeliveryFrame,
        out: &mut Output,
    ) -> Result<(), Violation> {
        match frame {
            DeliveryFrame::Resume(resume) => {
                if let Some(gap) = self.receiver.on_resume(&resume)? {
                    self.is_moved = true;
                    if gap.is_known {
                        let messages = gap.to - gap.from + 1;
                        out.push(Action::Log(Notice::Gap { messages }));
                    }
                }
            }
            DeliveryFrame::Kept(kept) => self.on_kept(now, kept, out)?,
            DeliveryFrame::Skip(skip) => self.on_skip(now, &skip, out)?,
            DeliveryFrame::Close { handle } => {
                self.receiver.on_close(handle)?;
                self.is_moved = true;
            }
            // Of the streams to the cloud, which the outbox has.
            DeliveryFrame::Ack(Ack { handle, .. }) | DeliveryFrame::Rewind { handle, .. } => {
                return Err(Violation::UnknownStream { handle });
            }
        }
        self.arm(out);
        Ok(())
    }

    fn on_kept(&mut self, now: Time, kept: Kept, out: &mut Output) -> Result<(), Violation> {
        let Kept { handle, sequence, tag, sent_at_ms, redelivered, content } = kept;
        let size = content.size() as u64;
        let unknown = Violation::UnknownStream { handle };
        let (_, lane) = self.receiver.stream(handle).ok_or(unknown)?;
        if !self.receiver.on_message(handle, (sequence, tag, size))? {
            return Ok(());
        }
        if let Some(known) = self.open.iter_mut().find(|it| it.tag == tag && it.at.is_none()) {
            // The application has it from an earlier connection, and is not done with it.
            known.at = Some((handle, sequence));
            return Ok(());
        }
        if let Some(at) = self.settled.iter().position(|(known, _)| *known == tag) {
            if let Some((_, outcome)) = self.settled.remove(at) {
                self.done(now, (handle, sequence), outcome);
            }
            return Ok(());
        }
        let held = self.status().bytes;
        if held > 0 && held + size > MAX_BYTES {
            return Err(Violation::TooManyBytes { handle, limit: MAX_BYTES });
        }
        self.last_key += 1;
        let key = DeliveryKey(self.last_key);
        self.open.push(Open { key, tag, size, at: Some((handle, sequence)) });
        let id = tag;
        let delivery = KeptDelivery { key, id, lane, redelivered, sent_at_ms, content };
        out.push(Action::DeliverKept(delivery));
        Ok(())
    }

    /// A message arrived whose content cannot be decoded, or would take too much memory: it is rejected, so that it
    /// does not stop those behind it.
    pub(super) fn reject(
        &mut self,
        now: Time,
        kept: &Kept,
        out: &mut Output,
    ) -> Result<(), Violation> {
        let Kept { handle, sequence, tag, .. } = *kept;
        if self.receiver.on_message(handle, (sequence, tag, 0))? {
            self.done(now, (handle, sequence), Outcome::Rejected);
            self.arm(out);
        }
        Ok(())
    }

    fn on_skip(&mut self, now: Time, skip: &Skip, out: &mut Output) -> Result<(), Violation> {
        if self.receiver.on_skip(skip)? {
            let messages = skip.to - skip.from + 1;
            out.push(Action::Log(Notice::Skipped { messages, reason: skip.reason }));
            self.done(now, (skip.handle, skip.to), Outcome::Processed);
        }
        Ok(())
    }

    /// The application is done with a message. After the end of its connection, the cloud learns it when it sends the
    /// message again.
    pub(super) fn acknowledge(
        &mut self,
        now: Time,
        key: DeliveryKey,
        outcome: Outcome,
        out: &mut Output,
    ) {
        let Some(index) = self.open.iter().position(|it| it.key == key) else { return };
        let Open { tag, at, .. } = self.open.remove(index);
        match at {
            Some(at) => self.done(now, at, outcome),
            None => {
                if self.settled.len() >= MAX_SETTLED {
                    self.settled.pop_front();
                }
                self.settled.push_back((tag, outcome));
            }
        }
        self.store_positions(out);
        self.arm(out);
    }

    fn done(&mut self, now: Time, (handle, sequence): (u64, u64), outcome: Outcome) {
        let advance = self.receiver.done(handle, sequence, outcome, now.since_start());
        self.is_moved |= advance.is_some();
    }

    /// An acknowledgement that is due. The positions are stored before it: the cloud forgets what it acknowledges.
    pub(super) fn poll_ack(&mut self, now: Time, out: &mut Output) -> Option<DeliveryFrame> {
        let Some(ack) = self.receiver.poll_ack(now.since_start()) else {
            self.arm(out);
            return None;
        };
        self.store_positions(out);
        Some(DeliveryFrame::Ack(ack))
    }

    /// Stores the positions if one has moved.
    fn store_positions(&mut self, out: &mut Output) {
        let (true, Some(installation)) = (self.is_moved, self.installation) else { return };
        self.is_moved = false;
        let streams = self.receiver.positions().map(|(stream, lane, position)| {
            let Position { up_to, tag } = position;
            StreamPosition { stream, lane, up_to, tag }
        });
        let streams = streams.take(Positions::MAX).collect();
        out.push(Action::StorePositions(Positions { installation, streams }));
    }

    pub(super) fn status(&self) -> InboxStatus {
        let bytes = self.open.iter().map(|it| it.size).fold(0, u64::saturating_add);
        InboxStatus { messages: self.open.len() as u64, bytes }
    }

    fn arm(&self, out: &mut Output) {
        match self.receiver.ack_deadline() {
            Some(at) => out.timers.set(Timer::Acknowledge, Time::new(at)),
            None => out.timers.stop(Timer::Acknowledge),
        }
    }
}
