//! The receiving end of all streams: what is handed over, and when it is acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_protocol::{Ack, Lane, Resume, Skip, StreamId, Tag};

use crate::{Credit, MAX_STREAMS, Position, Violation};

/// Receives the messages of all streams. Keeps its positions between connections, as far as it knows them; where
/// they are durable is up to the caller.
#[derive(Debug, Clone)]
pub struct Receiver {
    streams: Vec<Inbound>,
    credit: Credit,
}

#[derive(Debug, Clone)]
struct Inbound {
    stream: StreamId,
    lane: Lane,
    /// Done with everything up to here.
    position: Position,
    rejected: Vec<u64>,
    link: Option<Link>,
}

/// The state on the current connection.
#[derive(Debug, Clone)]
struct Link {
    handle: u64,
    /// The last number that arrived.
    arrived: u64,
    /// What arrived and is not done.
    pending: VecDeque<Pending>,
    /// What is repeated until this one comes is ignored.
    rewinding: bool,
    credit_to: u64,
    /// An acknowledgement is due at once.
    is_due: bool,
    /// What was done since the last acknowledgement.
    messages: u64,
    bytes: u64,
    due_at: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Pending {
    /// The last number of it.
    to: u64,
    tag: Tag,
    size: u64,
    outcome: Option<Outcome>,
}

/// What the application did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// An acknowledgement is due after so many messages.
const MESSAGES: u64 = 32;

/// An acknowledgement is due after so many bytes.
const BYTES: u64 = 64 * 1024;

/// How many rejected numbers of a stream are remembered until the sender knows them.
const MAX_REJECTED: usize = 100;

impl Receiver {
    /// A receiver that grants up to this much.
    pub fn new(credit: Credit) -> Self {
        Self { streams: Vec::new(), credit }
    }

    /// The positions that it knows.
    pub fn positions(&self) -> impl Iterator<Item = (StreamId, Lane, Position)> {
        self.streams.iter().map(|it| (it.stream, it.lane, it.position))
    }

    /// Grants so much from the next acknowledgement on.
    pub fn set_credit(&mut self, credit: Credit) {
        self.credit = credit;
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
        let Resume { handle, lane, stream, oldest, .. } = *resume;
        if self.streams.iter().any(|it| it.handle() == Some(handle)) {
            return Err(Violation::AnnouncedTwice { handle });
        }
        let known = self.streams.iter().position(|it| it.stream == stream);
        let at = known.unwrap_or_else(|| {
            self.make_room(lane);
            self.streams.push(Inbound::new(stream, lane, Position { up_to: 0, tag: Tag(0) }));
            self.streams.len() - 1
        });
        let of_lane = self.streams.iter().filter(|it| it.lane == lane).count();
        if of_lane > MAX_STREAMS {
            self.streams.remove(at);
            return Err(Violation::TooManyStreams { limit: MAX_STREAMS });
        }
        // The one that was used last is removed last.
        let mut it = self.streams.remove(at);
        let before = it.position.up_to;
        let is_announced = it.link.is_some();
        it.rejected.retain(|sequence| *sequence >= oldest);
        let gap = (oldest > before + 1).then(|| {
            it.position = Position { up_to: oldest - 1, tag: Tag(0) };
            let advance = it.advance(before);
            Gap { is_known: known.is_some(), from: before + 1, to: oldest - 1, advance }
        });
        it.link = Some(Link::new(handle, it.position.up_to));
        self.streams.push(it);
        if is_announced {
            return Err(Violation::AnnouncedTwice { handle });
        }
        Ok(gap)
    }

    /// A message has arrived. True if it is to be handed over; false if it will be repeated.
    pub fn on_message(
        &mut self,
        handle: u64,
        (sequence, tag, size): (u64, Tag, u64),
    ) -> Result<bool, Violation> {
        let link = self.link(handle)?;
        if !link.takes(handle, sequence)? {
            return Ok(false);
        }
        if sequence > link.credit_to {
            let credit_to = link.credit_to;
            return Err(Violation::OverCredit { handle, sequence, credit_to });
        }
        link.arrived = sequence;
        link.pending.push_back(Pending { to: sequence, tag, size, outcome: None });
        Ok(true)
    }

    /// Numbers without a message have arrived. True if they are to be made durable, which is done with number
    /// `skip.to`; false if they will be repeated.
    pub fn on_skip(&mut self, skip: &Skip) -> Result<bool, Violation> {
        let link = self.link(skip.handle)?;
        if !link.takes(skip.handle, skip.from)? {
            return Ok(false);
        }
        link.arrived = skip.to;
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
        let link = self.link(handle).ok()?;
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

    /// Forgets the stream of the lane that was not used for the longest time, if there are too many.
    fn make_room(&mut self, lane: Lane) {
        let of_lane = self.streams.iter().filter(|it| it.lane == lane).count();
        if of_lane >= MAX_STREAMS {
            let unused = |it: &Inbound| it.lane == lane && it.link.is_none();
            if let Some(at) = self.streams.iter().position(unused) {
                self.streams.remove(at);
            }
        }
    }

    fn advance(&mut self, handle: u64, now: Duration) -> Option<Advance> {
        let it = self.streams.iter_mut().find(|it| it.handle() == Some(handle))?;
        let before = it.position.up_to;
        it.settle(now);
        (it.position.up_to > before).then(|| it.advance(before))
    }

    fn link(&mut self, handle: u64) -> Result<&mut Link, Violation> {
        let mut links = self.streams.iter_mut().filter_map(|it| it.link.as_mut());
        links.find(|link| link.handle == handle).ok_or(Violation::UnknownStream { handle })
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
            link.messages += 1;
            link.bytes += done.size;
            link.is_due |= link.messages >= MESSAGES || link.bytes >= BYTES;
            link.due_at = link.due_at.or(Some(now + DELAY));
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
        Some(Ack {
            handle: link.handle,
            up_to: self.position.up_to,
            tag: self.position.tag,
            credit_to: link.credit_to,
            credit_bytes: credit.bytes,
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
            credit_to: position.saturating_add(Credit::INITIAL.messages),
            is_due: true,
            messages: 0,
            bytes: 0,
            due_at: None,
        }
    }

    /// Whether this number is the next. Others are an error, except while the sender repeats.
    fn takes(&mut self, handle: u64, found: u64) -> Result<bool, Violation> {
        let expected = self.arrived + 1;
        if found == expected {
            self.rewinding = false;
            return Ok(true);
        }
        if self.rewinding && found > expected {
            return Ok(false);
        }
        Err(Violation::OutOfOrder { handle, expected, found })
    }
}
