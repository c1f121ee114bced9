//! Kept messages: what waits in memory for the cloud, and which of it is sent next.

use std::time::Duration;

use fedecks_delivery::{Message, Sender, Settled, Transmit, Violation};
use fedecks_protocol::{
    Ack, Capabilities, Content, DeliveryFrame, DeliveryOffer, EncodeError, InstallationId, Kept,
    Lane, Limits, SkipReason, StreamId, Tag,
};

use super::output::Output;
use crate::action::{Action, Notice};
use crate::config::Config;
use crate::kept::{KeepError, KeepId, NewContent, NewKept, QueueStatus};
use crate::time::Time;
use crate::timers::Timer;

#[derive(Debug)]
pub(super) struct Outbox {
    sender: Sender<Content>,
    /// The stream of each lane since the start.
    streams: Vec<(Lane, StreamId)>,
    random: fastrand::Rng,
    /// The cloud that the messages were accepted for; `None` before the first one that takes any.
    installation: Option<InstallationId>,
    /// The largest frame that the last cloud accepted, in bytes.
    max_frame: usize,
    lost: u64,
}

/// What a message takes in memory besides its content, in bytes.
const OVERHEAD: u64 = 160;

/// What a frame has besides the content, in bytes, at most.
const HEAD: usize = 64;

/// A message that could not be voided when it expired is looked at again after this.
const AGAIN: Duration = Duration::from_secs(1);

impl Outbox {
    pub(super) fn new(config: &Config, seed: u64) -> Self {
        Self {
            sender: Sender::default(),
            streams: Vec::new(),
            // Other numbers than those of the delays.
            random: fastrand::Rng::with_seed(!seed),
            installation: None,
            max_frame: config.limits.max_size,
            lost: 0,
        }
    }

    /// Accepts a message, and answers.
    pub(super) fn keep(
        &mut self,
        now: Time,
        id: KeepId,
        kept: NewKept,
        config: &Config,
        out: &mut Output,
    ) {
        let result = self.accept(now, kept, config, out);
        out.push(Action::AnswerKeep { id, result });
    }

    fn accept(
        &mut self,
        now: Time,
        kept: NewKept,
        config: &Config,
        out: &mut Output,
    ) -> Result<Tag, KeepError> {
        let NewKept { lane, content, sent_at_ms, expires_in } = kept;
        let limits = Limits {
            max_size: self.max_frame.saturating_sub(HEAD),
            // What clouds decode. The device's own limit is of what it receives.
            max_decoded: Limits::CLOUD_DECODED,
            ..config.limits
        };
        let content = match content {
            NewContent::Term(term) => Content::Term(config.dialect.keep_term(&term, &limits)?),
            NewContent::Raw(bytes) if bytes.len() > limits.max_size => {
                let (size, limit) = (bytes.len(), limits.max_size);
                return Err(EncodeError::TooBig { size, limit }.into());
            }
            NewContent::Raw(bytes) => Content::Raw(bytes),
        };
        let size = content.size() as u64;
        self.make_room(size + OVERHEAD, config.keep_bytes, out)?;
        let tag = Tag(self.random.u64(1..));
        let expires_at = Some((now + expires_in).since_start());
        let (redelivered, body) = (false, content);
        let stream = self.stream(lane);
        let message = Message { tag, size, sent_at_ms, expires_at, redelivered, body };
        self.sender.append(stream, message);
        self.arm(now, expires_at, out);
        Ok(tag)
    }

    /// Makes room for a message: the oldest ones of the normal lane go, those of the urgent lane stay.
    fn make_room(&mut self, bytes: u64, limit: u64, out: &mut Output) -> Result<(), KeepError> {
        let waiting = self.status().bytes;
        let Some(excess) = (waiting + bytes).checked_sub(limit).filter(|excess| *excess > 0) else {
            return Ok(());
        };
        if bytes <= limit {
            let dropped = self.sender.drop_oldest(Lane::Normal, excess, OVERHEAD);
            self.settle_lost(dropped, out);
        }
        let waiting = self.status().bytes;
        if waiting + bytes > limit {
            return Err(KeepError::QueueFull { waiting, limit });
        }
        Ok(())
    }

    /// The stream of a lane, which is opened with its first message.
    fn stream(&mut self, lane: Lane) -> StreamId {
        if let Some((_, stream)) = self.streams.iter().find(|(known, _)| *known == lane) {
            return *stream;
        }
        let stream = self.new_stream();
        self.sender.open(lane, stream, (1, 0, 0));
        self.streams.push((lane, stream));
        stream
    }

    fn new_stream(&mut self) -> StreamId {
        StreamId(self.random.u128(..).to_le_bytes())
    }

    /// A cloud has said what it takes. Returns whether that includes kept messages.
    pub(super) fn connect(&mut self, offer: &DeliveryOffer, max_frame: usize, out: &mut Output) {
        if !offer.capabilities.contains(Capabilities::KEPT_MESSAGES) {
            return;
        }
        self.max_frame = max_frame;
        let known = self.installation.replace(offer.installation);
        if known.is_some_and(|known| known != offer.installation) {
            let dropped = self.sender.abandon(SkipReason::OtherCloud);
            if !dropped.is_empty() {
                out.push(Action::Log(Notice::OtherCloud { dropped: dropped.len() as u64 }));
            }
            self.settle_lost(dropped, out);
            self.streams.clear();
        }
        self.sender.connect();
    }

    pub(super) fn disconnect(&mut self) {
        self.sender.disconnect();
    }

    /// The next frame to send.
    pub(super) fn poll(&mut self) -> Option<DeliveryFrame> {
        Some(match self.sender.poll_transmit()? {
            Transmit::Resume(resume) => DeliveryFrame::Resume(resume),
            Transmit::Message { handle, sequence, message } => DeliveryFrame::Kept(Kept {
                handle,
                sequence,
                tag: message.tag,
                sent_at_ms: message.sent_at_ms,
                redelivered: message.redelivered,
                content: message.body,
            }),
            Transmit::Skip(skip) => DeliveryFrame::Skip(skip),
            Transmit::Close { handle } => DeliveryFrame::Close { handle },
        })
    }

    /// A message exceeds what the cloud accepts now: it is lost, and its number is voided.
    pub(super) fn too_big(&mut self, kept: &Kept, out: &mut Output) -> DeliveryFrame {
        let (handle, from) = (kept.handle, kept.sequence);
        self.sender.refuse(handle, from, SkipReason::TooBig);
        self.settle_lost(vec![(kept.tag, Settled::Voided(SkipReason::TooBig))], out);
        let reason = SkipReason::TooBig;
        DeliveryFrame::Skip(fedecks_protocol::Skip { handle, from, to: from, reason })
    }

    pub(super) fn on_ack(
        &mut self,
        now: Time,
        ack: &Ack,
        out: &mut Output,
    ) -> Result<(), Violation> {
        let fresh = self.new_stream();
        let acked = self.sender.on_ack(ack, fresh)?;
        if let Some(renumbered) = acked.renumbered {
            for (_, stream) in &mut self.streams {
                if *stream == renumbered.from {
                    *stream = renumbered.to;
                }
            }
            out.push(Action::Log(Notice::Renumbered));
        }
        for (tag, settled) in acked.settled {
            self.lost += u64::from(settled != Settled::Delivered);
            out.push(Action::Settle { tag, settled });
        }
        // What was sent on an earlier connection may have expired before it was known not to have arrived.
        self.expire(now, out);
        Ok(())
    }

    pub(super) fn on_rewind(&mut self, handle: u64, to: u64) -> Result<(), Violation> {
        self.sender.on_rewind(handle, to)
    }

    /// Drops what has expired.
    pub(super) fn expire(&mut self, now: Time, out: &mut Output) {
        let expired = self.sender.expire(now.since_start());
        self.settle_lost(expired, out);
        self.arm(now, self.sender.next_expiry(), out);
    }

    pub(super) fn status(&self) -> QueueStatus {
        let waiting = self.sender.waiting();
        let bytes = waiting.bytes + waiting.messages * OVERHEAD;
        QueueStatus { messages: waiting.messages, bytes, lost: self.lost }
    }

    fn settle_lost(&mut self, lost: Vec<(Tag, Settled)>, out: &mut Output) {
        self.lost += lost.len() as u64;
        for (tag, settled) in lost {
            out.push(Action::Settle { tag, settled });
        }
    }

    /// Sets the timer for a message that expires, unless it is due earlier.
    fn arm(&self, now: Time, expires_at: Option<Duration>, out: &mut Output) {
        let Some(at) = expires_at.map(Time::new) else { return };
        let at = at.max(now + AGAIN);
        if out.timers.get(Timer::Expiry).is_none_or(|known| known > at) {
            out.timers.set(Timer::Expiry, at);
        }
    }
}
