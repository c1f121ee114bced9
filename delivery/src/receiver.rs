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
    credit_bytes: u64,
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
        let gap = (oldest - 1 > before).then(|| {
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
        let unacknowledged = link.bytes + link.pending.iter().map(|it| it.size).sum::<u64>();
        if unacknowledged > 0 && unacknowledged.saturating_add(size) > link.credit_bytes {
            let limit = link.credit_bytes;
            return Err(Violation::TooManyBytes { handle, limit });
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
        let of_lane = |it: &&Inbound| it.lane == lane;
        while self.streams.iter().filter(of_lane).count() >= MAX_STREAMS {
            let unused = |it: &Inbound| it.lane == lane && it.link.is_none();
            let Some(at) = self.streams.iter().position(unused) else { return };
            self.streams.remove(at);
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
            credit_to: position.saturating_add(Credit::INITIAL.messages),
            credit_bytes: Credit::INITIAL.bytes,
            is_due: true,
            messages: 0,
            bytes: 0,
            due_at: None,
        }
    }

    /// Whether this number is the next. Others are an error, except while the sender repeats.
    fn takes(&mut self, handle: u64, found: u64) -> Result<bool, Violation> {
        let expected = self.arrived.saturating_add(1);
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

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId([1; 16]);
    const NOW: Duration = Duration::from_secs(1);

    fn resume(handle: u64, oldest: u64) -> Resume {
        Resume { handle, lane: Lane::Normal, stream: STREAM, oldest, newest: 99 }
    }

    fn announced() -> Receiver {
        let mut it = Receiver::new(Credit::MAX);
        it.on_resume(&resume(1, 1)).unwrap();
        let ack = it.poll_ack(NOW).unwrap();
        assert_eq!((ack.up_to, ack.credit_to, ack.credit_bytes), (0, 64, 256 * 1024));
        assert_eq!(it.poll_ack(NOW), None);
        it
    }

    fn message(it: &mut Receiver, sequence: u64) -> Result<bool, Violation> {
        it.on_message(1, (sequence, Tag(sequence), 100))
    }

    #[test]
    fn the_position_moves_in_order_whatever_the_order_of_the_application() {
        let mut it = announced();
        (1..=3).for_each(|sequence| assert_eq!(message(&mut it, sequence), Ok(true)));
        assert_eq!(it.done(1, 2, Outcome::Processed, NOW), None);
        assert_eq!(
            it.done(1, 1, Outcome::Rejected, NOW).map(|moved| (moved.from, moved.to.up_to)),
            Some((0, 2))
        );
        assert_eq!(it.poll_ack(NOW), None, "there may be more");
        assert_eq!(it.ack_deadline(), Some(NOW + DELAY));
        let ack = it.poll_ack(NOW + DELAY).unwrap();
        assert_eq!((ack.up_to, ack.tag, &ack.rejected[..]), (2, Tag(2), &[1][..]));
        assert_eq!(it.done(1, 9, Outcome::Processed, NOW), None);
    }

    #[test]
    fn an_acknowledgement_is_due_at_once_after_32_messages_or_64_kib() {
        let mut it = announced();
        for sequence in 1..=32 {
            message(&mut it, sequence).unwrap();
            assert_eq!(it.poll_ack(NOW), None);
            it.done(1, sequence, Outcome::Processed, NOW);
        }
        assert_eq!(it.poll_ack(NOW).map(|ack| ack.up_to), Some(32));
        it.on_message(1, (33, Tag(33), 64 * 1024)).unwrap();
        it.done(1, 33, Outcome::Processed, NOW);
        assert_eq!(it.poll_ack(NOW).map(|ack| ack.up_to), Some(33));
    }

    #[test]
    fn credit_is_enforced_in_messages_and_bytes() {
        let mut it = announced();
        (1..=64).for_each(|sequence| assert_eq!(message(&mut it, sequence), Ok(true)));
        let over = Violation::OverCredit { handle: 1, sequence: 65, credit_to: 64 };
        assert_eq!(message(&mut it, 65), Err(over));
        let mut it = announced();
        assert_eq!(it.on_message(1, (1, Tag(1), 1 << 30)), Ok(true), "a big one alone");
        let over = Violation::TooManyBytes { handle: 1, limit: 256 * 1024 };
        assert_eq!(message(&mut it, 2), Err(over));
    }

    #[test]
    fn what_is_not_the_next_number_is_a_violation_unless_it_is_repeated() {
        let mut it = announced();
        let wrong = |found, expected| Err(Violation::OutOfOrder { handle: 1, expected, found });
        assert_eq!(message(&mut it, 2), wrong(2, 1));
        (1..=3).for_each(|sequence| assert_eq!(message(&mut it, sequence), Ok(true)));
        assert_eq!(message(&mut it, 3), wrong(3, 4));
        it.done(1, 1, Outcome::Processed, NOW);
        assert_eq!(it.rewind(1), Some(1));
        assert_eq!(message(&mut it, 4), Ok(false), "on its way before the other end knew");
        assert_eq!(message(&mut it, 2), Ok(true));
        assert_eq!(message(&mut it, 4), wrong(4, 3));
    }

    #[test]
    fn a_receiver_that_was_set_back_goes_on_at_the_oldest() {
        let mut it = Receiver::new(Credit::MAX);
        it.restore(STREAM, Lane::Normal, Position { up_to: 3, tag: Tag(3) });
        let gap = it.on_resume(&resume(1, 7)).unwrap().unwrap();
        assert_eq!((gap.is_known, gap.from, gap.to, gap.advance.from), (true, 4, 6, 3));
        assert_eq!(it.poll_ack(NOW).map(|ack| (ack.up_to, ack.tag)), Some((6, Tag(0))));
        assert_eq!(message(&mut it, 7), Ok(true));
        let mut new = Receiver::new(Credit::MAX);
        assert!(!new.on_resume(&resume(1, 7)).unwrap().unwrap().is_known);
        it.disconnect();
        assert_eq!(
            it.on_resume(&resume(2, u64::MAX)).unwrap().map(|gap| gap.to),
            Some(u64::MAX - 1)
        );
        assert_eq!(it.on_message(2, (u64::MAX, Tag(1), 1)), Ok(true));
        it.done(2, u64::MAX, Outcome::Processed, NOW);
        assert!(it.poll_ack(NOW + DELAY).is_some());
    }

    #[test]
    fn no_more_streams_than_allowed_are_open_or_remembered() {
        let mut it = Receiver::new(Credit::MAX);
        let stream = |number: u8| StreamId([number; 16]);
        for number in 0..20 {
            it.restore(stream(number), Lane::Normal, Position { up_to: 1, tag: Tag(1) });
        }
        for handle in 1..=8 {
            let resume = Resume { stream: stream(100 + handle as u8), ..resume(handle, 1) };
            it.on_resume(&resume).unwrap();
        }
        let ninth = Resume { stream: stream(200), ..resume(9, 1) };
        let limit = MAX_STREAMS;
        assert_eq!(it.on_resume(&ninth), Err(Violation::TooManyStreams { limit }));
        let twice = Resume { stream: stream(201), lane: Lane::Urgent, ..resume(1, 1) };
        assert_eq!(it.on_resume(&twice), Err(Violation::AnnouncedTwice { handle: 1 }));
    }
}
