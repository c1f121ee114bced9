//! Kept messages: what waits in memory for the cloud, and which of it is sent next.

mod status;
mod stored;

use std::time::Duration;

use fedecks_delivery::{Message, Sender, Settled, Transmit, Violation};
use fedecks_protocol::{
    Ack, Capabilities, Content, DeliveryFrame, DeliveryOffer, EncodeError, InstallationId, Kept,
    Lane, Limits, SkipReason, StreamId, Tag,
};

use super::disk::DiskQueue;
use super::output::Output;
use crate::action::{Action, Notice};
use crate::config::Config;
use crate::kept::{KeepError, KeepId, NewContent, NewKept, OVERHEAD, Place};
use crate::time::Time;
use crate::timers::Timer;

#[derive(Debug)]
pub(super) struct Outbox {
    sender: Sender<Content>,
    disk: Option<DiskQueue>,
    is_connected: bool,
    /// Streams to close on this connection.
    closing: Vec<u64>,
    /// The stream in memory of each lane since the start.
    streams: Vec<(Lane, StreamId)>,
    random: fastrand::Rng,
    /// The cloud that the messages were accepted for; `None` before the first one that takes any.
    installation: Option<InstallationId>,
    /// The largest frame that the last cloud accepted, in bytes.
    max_frame: usize,
    lost: u64,
}

/// What a frame has besides the content, in bytes, at most.
const HEAD: usize = 64;

/// A message that could not be voided when it expired is looked at again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// A message that is valid, and not numbered yet.
struct Accepted {
    content: Content,
    sent_at_ms: Option<u64>,
    expires_in: Duration,
}

impl Outbox {
    pub(super) fn new(config: &Config, seed: u64, out: &mut Output) -> Self {
        let mut sender = Sender::default();
        let disk = config.disk.map(|limits| DiskQueue::new(limits, config, &mut sender, out));
        Self {
            sender,
            disk,
            is_connected: false,
            closing: Vec::new(),
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
        match self.accept(now, id, kept, config, out) {
            Ok(None) => {}
            Ok(Some(tag)) => out.push(Action::AnswerKeep { id, result: Ok(tag) }),
            Err(error) => out.push(Action::AnswerKeep { id, result: Err(error) }),
        }
    }

    /// Returns the id, unless the answer follows later.
    fn accept(
        &mut self,
        now: Time,
        id: KeepId,
        kept: NewKept,
        config: &Config,
        out: &mut Output,
    ) -> Result<Option<Tag>, KeepError> {
        let NewKept { lane, content, sent_at_ms, expires_in, place } = kept;
        let limits =
            Limits { max_size: self.max_frame.saturating_sub(HEAD), ..config.limits_of_kept() };
        let content = match content {
            NewContent::Term(term) => Content::Term(config.dialect.keep_term(&term, &limits)?),
            NewContent::Raw(bytes) if bytes.len() > limits.max_size => {
                let (size, limit) = (bytes.len(), limits.max_size);
                return Err(EncodeError::TooBig { size, limit }.into());
            }
            NewContent::Raw(bytes) => Content::Raw(bytes),
        };
        let size = content.size() as u64;
        if let Place::Disk { sync } = place {
            let kept = Accepted { content, sent_at_ms, expires_in };
            return self.accept_on_disk(now, id, (lane, sync), kept, out).map(|()| None);
        }
        self.make_room(size + OVERHEAD, config.keep_bytes, out)?;
        let tag = self.new_tag();
        let expires_at = Some((now + expires_in).since_start());
        let (redelivered, body) = (false, content);
        let stream = self.stream(lane);
        let message = Message { tag, size, sent_at_ms, expires_at, redelivered, body };
        self.sender.append(stream, message);
        self.arm(now, expires_at, out);
        Ok(Some(tag))
    }

    /// Makes room for a message: the oldest ones of the normal lane go, those of the urgent lane stay.
    fn make_room(&mut self, bytes: u64, limit: u64, out: &mut Output) -> Result<(), KeepError> {
        let waiting = self.status().bytes;
        let Some(excess) = (waiting + bytes).checked_sub(limit).filter(|excess| *excess > 0) else {
            return Ok(());
        };
        if bytes <= limit {
            let normal = self.streams.iter().find(|(lane, _)| *lane == Lane::Normal);
            if let Some((_, stream)) = normal {
                let dropped = self.sender.drop_oldest_of(*stream, excess, OVERHEAD);
                self.settle_lost(dropped, out);
            }
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

    fn new_tag(&mut self) -> Tag {
        Tag(self.random.u64(1..))
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
            let on_disk = self.abandon_disk(out);
            let dropped = self.sender.abandon(SkipReason::OtherCloud);
            let count = on_disk.saturating_add(dropped.len() as u64);
            self.settle_lost(dropped, out);
            self.streams.clear();
            if count > 0 {
                out.push(Action::Log(Notice::OtherCloud { dropped: count }));
            }
        }
        if let (Some(disk), true) = (&mut self.disk, known != self.installation) {
            disk.on_installation();
        }
        self.sender.connect();
        self.is_connected = true;
        self.wake(out);
    }

    pub(super) fn disconnect(&mut self, out: &mut Output) {
        self.sender.disconnect();
        self.is_connected = false;
        self.closing.clear();
        if let Some(disk) = &mut self.disk {
            disk.on_disconnected();
        }
        self.wake(out);
    }

    /// The next frame to send.
    pub(super) fn poll(&mut self) -> Option<DeliveryFrame> {
        if let Some(handle) = self.closing.pop() {
            return Some(DeliveryFrame::Close { handle });
        }
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
        for (tag, _) in &acked.settled {
            self.answer_before(*tag, out);
        }
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
        if let Some(stream) = acked.stream {
            self.on_disk_acknowledged(now, stream, out);
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

    fn settle_lost(&mut self, lost: Vec<(Tag, Settled)>, out: &mut Output) {
        self.lost += lost.len() as u64;
        for (tag, settled) in lost {
            self.answer_before(tag, out);
            out.push(Action::Settle { tag, settled });
        }
    }

    /// Answers the caller of a message before its outcome follows.
    fn answer_before(&mut self, tag: Tag, out: &mut Output) {
        if let Some(disk) = &mut self.disk {
            disk.on_settled(tag, out);
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
