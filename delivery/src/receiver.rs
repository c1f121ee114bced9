//! The receiving end of all streams: what is handed over, and when it is acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_protocol::{Ack, Lane, Resume, Skip, StreamId, Tag};

use crate::limits::{Credit, MAX_STREAMS};
use crate::position::Position;
use crate::violation::Violation;

/// Receives the messages of all streams. Keeps its positions between connections, as far as it knows them; where
/// they are durable is up to the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receiver {
    streams: Vec<Inbound>,
    credit: Credit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Inbound {
    stream: StreamId,
    lane: Lane,
    /// Done with everything up to here.
    position: Position,
    rejected: Vec<u64>,
    link: Option<Link>,
}

/// The state on the current connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Link {
    handle: u64,
    /// The last number that arrived.
    arrived: u64,
    /// What arrived and is not done.
    pending: VecDeque<Pending>,
    /// What is repeated until this one comes is ignored.
    rewinding: bool,
    /// A sender that has forgotten what it sent may begin with what was received.
    repeats: bool,
    /// The sender has other messages under these numbers: it is going to number them again.
    is_foreign: bool,
    credit_to: u64,
    credit_bytes: u64,
    /// An acknowledgement is due at once.
    is_due: bool,
    /// What was done since the last acknowledgement.
    messages: u64,
    bytes: u64,
    due_at: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pending {
    /// The last number of it.
    to: u64,
    tag: Tag,
    size: u64,
    outcome: Option<Outcome>,
}

/// What the application did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It has taken it.
    Processed,
    /// It has rejected it for good.
    Rejected,
}

/// A position that has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The stream.
    pub stream: StreamId,
    /// Its lane.
    pub lane: Lane,
    /// The position before, 0 if there was none.
    pub from: u64,
    /// The position now.
    pub to: Position,
}

/// Numbers that the sender no longer has, and that this end has no record of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// This end knew the stream, and was set back. Otherwise it is new here, or its position was lost, and nothing is
    /// known to be missing.
    pub is_known: bool,
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
    /// The position after the gap.
    pub advance: Advance,
}

/// An acknowledgement waits at most this long for more.
const DELAY: Duration = Duration::from_millis(250);

/// An acknowledgement is due after this number of messages.
const MESSAGES: u64 = 32;

/// An acknowledgement is due after this number of bytes.
const BYTES: u64 = 64 * 1024;

/// How many rejected numbers of a stream are remembered until the sender knows them.
const MAX_REJECTED: usize = 100;

impl Receiver {
    /// A receiver that grants up to this much.
    pub fn new(credit: Credit) -> Self {
        let mut it = Self { streams: Vec::new(), credit };
        it.set_credit(credit);
        it
    }

    /// The positions that it knows.
    pub fn positions(&self) -> impl Iterator<Item = (StreamId, Lane, Position)> {
        self.streams.iter().map(|it| (it.stream, it.lane, it.position))
    }

    /// Grants this much from the next acknowledgement on, at most [`Credit::MAX`].
    pub fn set_credit(&mut self, credit: Credit) {
        let Credit { messages, bytes } = Credit::MAX;
        self.credit =
            Credit { messages: credit.messages.min(messages), bytes: credit.bytes.min(bytes) };
    }

    /// A position from an earlier run.
    pub fn restore(&mut self, stream: StreamId, lane: Lane, position: Position) {
        self.streams.retain(|it| it.stream != stream);
        self.streams.push(Inbound::new(stream, lane, position));
    }

    /// The connection has ended: what is not done will be sent again.
    pub fn disconnect(&mut self) {
        self.streams.iter_mut().for_each(|it| it.link = None);
    }

    /// A stream is announced. A gap has to be made durable like every other advance.
    pub fn on_resume(&mut self, resume: &Resume) -> Result<Option<Gap>, Violation> {
        let Resume { handle, lane, stream, oldest, newest } = *resume;
        if oldest == 0 || newest < oldest - 1 {
            return Err(Violation::BadNumbers { handle, from: oldest, to: newest });
        }
        let known = self.streams.iter().position(|it| it.stream == stream);
        let other = known.and_then(|at| self.streams.get(at)).filter(|it| it.lane != lane);
        let is_announced = |it: &Inbound| it.handle() == Some(handle) || it.stream == stream;
        if self.streams.iter().any(|it| it.link.is_some() && is_announced(it)) || other.is_some() {
            return Err(Violation::AnnouncedTwice { handle });
        }
        // The one that was used last is removed last.
        let mut it = match known {
            Some(at) => self.streams.remove(at),
            None if self.make_room(lane) => {
                Inbound::new(stream, lane, Position { up_to: 0, tag: Tag(0) })
            }
            None => return Err(Violation::TooManyStreams { limit: MAX_STREAMS }),
        };
        let before = it.position.up_to;
        it.rejected.retain(|sequence| *sequence >= oldest);
        let gap = (oldest - 1 > before).then(|| {
            it.position = Position { up_to: oldest - 1, tag: Tag(0) };
            let advance = it.advance(before);
            Gap { is_known: known.is_some(), from: before + 1, to: oldest - 1, advance }
        });
        let mut link = Link::new(handle, it.position.up_to);
        link.repeats = oldest == 1 && it.position.up_to > 0;
        it.link = Some(link);
        self.streams.push(it);
        Ok(gap)
    }

    /// A message has arrived. True if it is to be handed over; false if it will be repeated.
    pub fn on_message(
        &mut self,
        handle: u64,
        (sequence, tag, size): (u64, Tag, u64),
    ) -> Result<bool, Violation> {
        let (link, position) = self.link(handle)?;
        if !link.takes(handle, (sequence, sequence), tag, position)? {
            return Ok(false);
        }
        let pending = link.pending.iter().map(|it| it.size);
        let unacknowledged = pending.fold(link.bytes, u64::saturating_add);
        if unacknowledged > 0 && unacknowledged.saturating_add(size) > link.credit_bytes {
            let limit = link.credit_bytes;
            return Err(Violation::TooManyBytes { handle, limit });
        }
        link.take(sequence);
        link.pending.push_back(Pending { to: sequence, tag, size, outcome: None });
        Ok(true)
    }

    /// Numbers without a message have arrived. True if they are to be made durable, which is done with number
    /// `skip.to`; false if they will be repeated.
    pub fn on_skip(&mut self, skip: &Skip) -> Result<bool, Violation> {
        let Skip { handle, from, to, .. } = *skip;
        let (link, position) = self.link(handle)?;
        if from == 0 || to < from {
            return Err(Violation::BadNumbers { handle, from, to });
        }
        if !link.takes(handle, (from, to), Tag(0), position)? {
            return Ok(false);
        }
        link.take(to);
        link.pending.push_back(Pending { to: skip.to, tag: Tag(0), size: 0, outcome: None });
        Ok(true)
    }

    /// The sender has finished the stream. Returns it: its position is not needed any more.
    pub fn on_close(&mut self, handle: u64) -> Result<StreamId, Violation> {
        self.link(handle)?;
        let at = self.streams.iter().position(|it| it.handle() == Some(handle));
        let it = at.map(|at| self.streams.remove(at));
        it.map(|it| it.stream).ok_or(Violation::UnknownStream { handle })
    }

    /// The application is done with a message of this connection, durably: it may be acknowledged. Returns how far
    /// the position has moved, which it does in order. `now` is on the clock of [`Receiver::poll_ack`].
    pub fn done(
        &mut self,
        handle: u64,
        sequence: u64,
        outcome: Outcome,
        now: Duration,
    ) -> Option<Advance> {
        let (link, _) = self.link(handle).ok()?;
        let pending = link.pending.iter_mut().find(|pending| pending.to == sequence)?;
        pending.outcome = Some(outcome);
        self.advance(handle, now)
    }

    /// Lets go of everything in the stream that is not done; the sender repeats it. Returns the number that the
    /// Rewind frame has.
    pub fn rewind(&mut self, handle: u64) -> Option<u64> {
        let it = self.streams.iter_mut().find(|it| it.handle() == Some(handle))?;
        let link = it.link.as_mut().filter(|link| !link.pending.is_empty())?;
        link.pending.clear();
        link.arrived = it.position.up_to;
        link.rewinding = true;
        Some(it.position.up_to)
    }

    /// An acknowledgement that is due.
    pub fn poll_ack(&mut self, now: Duration) -> Option<Ack> {
        let credit = self.credit;
        self.streams.iter_mut().find_map(|it| it.poll_ack(now, credit))
    }

    /// When the next acknowledgement is due.
    pub fn ack_deadline(&self) -> Option<Duration> {
        let links = self.streams.iter().filter_map(|it| it.link.as_ref());
        links.filter_map(|link| if link.is_due { Some(Duration::ZERO) } else { link.due_at }).min()
    }

    /// The stream with this handle on the connection.
    pub fn stream(&self, handle: u64) -> Option<(StreamId, Lane)> {
        let it = self.streams.iter().find(|it| it.handle() == Some(handle))?;
        Some((it.stream, it.lane))
    }

    /// Forgets the streams of the lane that were not used for the longest time, if there are too many. False if
    /// all are in use.
    fn make_room(&mut self, lane: Lane) -> bool {
        let of_lane = |it: &&Inbound| it.lane == lane;
        while self.streams.iter().filter(of_lane).count() >= MAX_STREAMS {
            let unused = |it: &Inbound| it.lane == lane && it.link.is_none();
            let Some(at) = self.streams.iter().position(unused) else { return false };
            self.streams.remove(at);
        }
        true
    }

    fn advance(&mut self, handle: u64, now: Duration) -> Option<Advance> {
        let it = self.streams.iter_mut().find(|it| it.handle() == Some(handle))?;
        let before = it.position.up_to;
        it.settle(now);
        (it.position.up_to > before).then(|| it.advance(before))
    }

    fn link(&mut self, handle: u64) -> Result<(&mut Link, Position), Violation> {
        let mut links =
            self.streams.iter_mut().filter_map(|it| Some((it.link.as_mut()?, it.position)));
        links.find(|(link, _)| link.handle == handle).ok_or(Violation::UnknownStream { handle })
    }
}

impl Inbound {
    fn new(stream: StreamId, lane: Lane, position: Position) -> Self {
        Self { stream, lane, position, rejected: Vec::new(), link: None }
    }

    fn handle(&self) -> Option<u64> {
        self.link.as_ref().map(|link| link.handle)
    }

    fn advance(&self, from: u64) -> Advance {
        Advance { stream: self.stream, lane: self.lane, from, to: self.position }
    }

    /// Moves the position over everything in front that is done.
    fn settle(&mut self, now: Duration) {
        let Some(link) = self.link.as_mut() else { return };
        while let Some(Pending { outcome: Some(outcome), .. }) = link.pending.front() {
            let rejected = *outcome == Outcome::Rejected;
            let Some(done) = link.pending.pop_front() else { return };
            self.position = Position { up_to: done.to, tag: done.tag };
            if rejected {
                if self.rejected.len() >= MAX_REJECTED {
                    self.rejected.remove(0);
                }
                self.rejected.push(done.to);
            }
            link.messages = link.messages.saturating_add(1);
            link.bytes = link.bytes.saturating_add(done.size);
            link.is_due |= link.messages >= MESSAGES || link.bytes >= BYTES;
            link.due_at = link.due_at.or(Some(now.saturating_add(DELAY)));
        }
    }

    fn poll_ack(&mut self, now: Duration, credit: Credit) -> Option<Ack> {
        let link = self.link.as_mut()?;
        if !link.is_due && link.due_at.is_none_or(|at| at > now) {
            return None;
        }
        link.is_due = false;
        link.due_at = None;
        (link.messages, link.bytes) = (0, 0);
        link.credit_to = link.credit_to.max(self.position.up_to.saturating_add(credit.messages));
        link.credit_bytes = link.credit_bytes.max(credit.bytes);
        Some(Ack {
            handle: link.handle,
            up_to: self.position.up_to,
            tag: self.position.tag,
            credit_to: link.credit_to,
            credit_bytes: link.credit_bytes,
            rejected: self.rejected.clone(),
        })
    }
}

impl Link {
    fn new(handle: u64, position: u64) -> Self {
        Self {
            handle,
            arrived: position,
            pending: VecDeque::new(),
            rewinding: false,
            repeats: false,
            is_foreign: false,
            credit_to: position.saturating_add(Credit::INITIAL.messages),
            credit_bytes: Credit::INITIAL.bytes,
            is_due: true,
            messages: 0,
            bytes: 0,
            due_at: None,
        }
    }

    /// Whether these numbers are the next. Others are an error, except while the sender repeats.
    fn takes(
        &mut self,
        handle: u64,
        (from, to): (u64, u64),
        tag: Tag,
        position: Position,
    ) -> Result<bool, Violation> {
        if self.is_foreign {
            return Ok(false);
        }
        let expected = self.arrived.saturating_add(1);
        if self.repeats && from <= self.arrived {
            self.is_foreign = to > position.up_to || (to == position.up_to && tag != position.tag);
            return Ok(false);
        }
        if from == expected && from > self.arrived {
            if from > self.credit_to {
                let credit_to = self.credit_to;
                return Err(Violation::OverCredit { handle, sequence: from, credit_to });
            }
            return Ok(true);
        }
        if self.rewinding && from > expected {
            return Ok(false);
        }
        Err(Violation::OutOfOrder { handle, expected, found: from })
    }

    fn take(&mut self, to: u64) {
        self.arrived = to;
        self.rewinding = false;
        self.repeats = false;
    }
}

#[cfg(test)]
mod tests;
