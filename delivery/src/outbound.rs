//! One stream of a sender: what waits in it, and what is known about how far the receiver is.

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_protocol::{Ack, Lane, Resume, SkipReason, StreamId, Tag};

use crate::sender::Waiting;
use crate::{Credit, Violation};

/// A message that waits to be sent and acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct Message<B> {
    /// Its id.
    pub tag: Tag,
    /// Its size in bytes, as credit counts it.
    pub size: u64,
    /// When it was accepted, in milliseconds since 1970-01-01 UTC, if that clock was plausible.
    pub sent_at_ms: Option<u64>,
    /// When it expires, on the clock of [`Sender::expire`](crate::Sender::expire).
    pub expires_at: Option<Duration>,
    /// It may have been sent before under another number.
    pub redelivered: bool,
    /// The content.
    pub body: B,
}

/// What a number of a stream carries.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<B> {
    /// A message.
    Message(Message<B>),
    /// None any more.
    Void(SkipReason),
}

/// The entries of a stream from the first number that is not acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Outbound<B> {
    pub(crate) stream: StreamId,
    pub(crate) lane: Lane,
    /// The number of the first entry.
    first: u64,
    /// The tag of the number before that, if it is known.
    before: Option<Tag>,
    slots: VecDeque<Slot<B>>,
    /// What the messages among them are.
    waiting: Waiting,
    /// The last number that was given out; entries up to it may still have to be loaded.
    newest: u64,
    /// The last number that may have been sent, on any connection.
    tried: u64,
    link: Option<Link>,
}

/// A message, or neighbours without one for the same reason: so what was dropped takes no memory for each.
#[derive(Debug, Clone)]
struct Slot<B> {
    /// Its last number. The first one follows that of the slot before.
    to: u64,
    entry: Entry<B>,
}

/// The state on the current connection.
#[derive(Debug, Clone, Copy)]
struct Link {
    handle: u64,
    /// The receiver's position is known.
    is_open: bool,
    /// The last number that was sent on this connection.
    sent: u64,
    /// The bytes of what was sent and is not acknowledged.
    in_flight: u64,
    credit_to: u64,
    credit_bytes: u64,
}

/// What an acknowledgement says.
pub(crate) enum Answer {
    /// Everything up to its number is settled.
    Settled(Vec<(Tag, bool)>),
    /// The receiver knows another stream of this id.
    Foreign,
}

impl<B: Clone> Outbound<B> {
    pub(crate) fn new(lane: Lane, stream: StreamId, first: u64, newest: u64, tried: u64) -> Self {
        Self {
            stream,
            lane,
            first,
            before: None,
            slots: VecDeque::new(),
            waiting: Waiting::default(),
            newest,
            tried,
            link: None,
        }
    }

    pub(crate) fn handle(&self) -> Option<u64> {
        self.link.map(|link| link.handle)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry<B>> {
        self.slots.iter().map(|slot| &slot.entry)
    }

    /// Whether something is not acknowledged.
    pub(crate) fn is_waiting(&self) -> bool {
        self.newest >= self.first
    }

    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// The first number whose entry is not loaded; `None` if all are.
    pub(crate) fn to_load(&self) -> Option<u64> {
        let next = self.end();
        (next <= self.newest).then_some(next)
    }

    /// Whether everything that there is was sent on this connection.
    pub(crate) fn is_sent(&self) -> bool {
        let sent = self.link.filter(|link| link.is_open).map_or(self.first - 1, |link| link.sent);
        sent >= self.newest
    }

    /// Adds an entry with the next number. Ignores one that is not the next.
    pub(crate) fn load(&mut self, sequence: u64, entry: Entry<B>) {
        if sequence == self.end() {
            if let Entry::Message(message) = &entry {
                self.waiting.messages += 1;
                self.waiting.bytes += message.size;
            }
            push(&mut self.slots, Slot { to: sequence, entry });
            self.newest = self.newest.max(sequence);
        }
    }

    /// More numbers were given out elsewhere.
    pub(crate) fn extend_to(&mut self, newest: u64) {
        self.newest = self.newest.max(newest);
    }

    pub(crate) fn disconnect(&mut self) {
        self.link = None;
    }

    /// Announces the stream on a new connection.
    pub(crate) fn announce(&mut self, handle: u64) -> Resume {
        // What was never sent from cannot be known to the receiver.
        let is_new = self.first == 1 && self.tried == 0;
        self.link = Some(Link {
            handle,
            is_open: is_new,
            sent: self.first - 1,
            in_flight: 0,
            credit_to: Credit::INITIAL.messages,
            credit_bytes: Credit::INITIAL.bytes,
        });
        let (lane, stream) = (self.lane, self.stream);
        Resume { handle, lane, stream, oldest: self.first, newest: self.newest }
    }

    /// The next entry that may be sent, with its number, and whether it may have been sent before. Neighbours
    /// without a message are one, with the number of the last.
    pub(crate) fn transmit(&mut self) -> Option<(u64, u64, bool, Entry<B>)> {
        let link = self.link.as_mut().filter(|link| link.is_open)?;
        let from = link.sent + 1;
        let at = self.slots.partition_point(|slot| slot.to < from);
        let Slot { to, entry } = self.slots.get(at)?.clone();
        let size = entry.size();
        let is_message = matches!(entry, Entry::Message(_));
        if is_message && from > link.credit_to {
            return None;
        }
        if is_message && link.in_flight > 0 && link.in_flight + size > link.credit_bytes {
            return None;
        }
        link.in_flight += size;
        link.sent = to;
        let again = from <= self.tried;
        self.tried = self.tried.max(to);
        Some((from, to, again, entry))
    }

    pub(crate) fn on_ack(&mut self, ack: &Ack) -> Result<Answer, Violation> {
        let unknown = Violation::UnknownStream { handle: ack.handle };
        let mut link = self.link.ok_or(unknown)?;
        let low = self.first - 1;
        if link.sent < ack.up_to || ack.up_to < low {
            let bad = Violation::BadAck {
                handle: ack.handle,
                up_to: ack.up_to,
                from: low,
                to: link.sent,
            };
            if link.is_open || ack.up_to < low {
                return Err(bad);
            }
            if ack.up_to > self.newest {
                return Ok(Answer::Foreign);
            }
        }
        if !link.is_open && !self.agrees(ack) {
            return Ok(Answer::Foreign);
        }
        let mut settled = Vec::new();
        while let Some(slot) = pop_up_to(&mut self.slots, ack.up_to) {
            if let Entry::Message(message) = slot.entry {
                if slot.to <= link.sent {
                    link.in_flight -= message.size;
                }
                self.waiting.remove(message.size);
                settled.push((message.tag, ack.rejected.contains(&slot.to)));
            }
        }
        if self.first <= ack.up_to {
            self.before = Some(ack.tag).filter(|tag| tag.0 != 0);
            self.first = ack.up_to + 1;
        }
        link.is_open = true;
        link.sent = link.sent.max(ack.up_to);
        self.tried = self.tried.max(ack.up_to);
        link.credit_to = ack.credit_to;
        link.credit_bytes = ack.credit_bytes;
        self.link = Some(link);
        Ok(Answer::Settled(settled))
    }

    /// Whether the acknowledged number carries the message that it does here, as far as both know.
    fn agrees(&self, ack: &Ack) -> bool {
        if ack.up_to == 0 || ack.tag.0 == 0 {
            return true;
        }
        if ack.up_to < self.first {
            return self.before.is_none_or(|tag| tag == ack.tag);
        }
        let at = self.slots.partition_point(|slot| slot.to < ack.up_to);
        match self.slots.get(at).map(|slot| &slot.entry) {
            Some(Entry::Message(message)) => message.tag == ack.tag,
            // Only what is known not to have arrived is voided.
            Some(Entry::Void(_)) => false,
            None => true,
        }
    }

    /// Repeats what follows a number.
    pub(crate) fn rewind(&mut self, handle: u64, to: u64) -> Result<(), Violation> {
        let unknown = Violation::UnknownStream { handle };
        let link = self.link.as_mut().filter(|link| link.is_open).ok_or(unknown)?;
        let low = self.first - 1;
        if to < low || to > link.sent {
            return Err(Violation::BadAck { handle, up_to: to, from: low, to: link.sent });
        }
        let before = self.slots.iter().take_while(|slot| slot.to <= to);
        link.in_flight = before.map(|slot| slot.entry.size()).sum();
        link.sent = to;
        Ok(())
    }

    /// Numbers everything that waits anew, from 1, in another stream.
    pub(crate) fn renumber(&mut self, stream: StreamId) {
        let (tried, mut number) = (self.tried, 0);
        let (mut slots, waiting) = (std::mem::take(&mut self.slots), self.waiting);
        slots.retain_mut(|slot| {
            let Entry::Message(message) = &mut slot.entry else { return false };
            message.redelivered |= slot.to <= tried;
            number += 1;
            slot.to = number;
            true
        });
        *self = Self { slots, waiting, ..Self::new(self.lane, stream, 1, number, 0) };
    }

    /// Voids the messages that `choose` returns a reason for, if they are known not to have arrived.
    pub(crate) fn void(
        &mut self,
        mut choose: impl FnMut(&Message<B>) -> Option<SkipReason>,
    ) -> Vec<(Message<B>, SkipReason)> {
        let safe = match self.link {
            Some(link) if link.is_open => link.sent,
            _ => self.tried,
        };
        let mut voided = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.to > safe) {
            let Entry::Message(message) = &slot.entry else { continue };
            let Some(reason) = choose(message) else { continue };
            let entry = std::mem::replace(&mut slot.entry, Entry::Void(reason));
            if let Entry::Message(message) = entry {
                self.waiting.remove(message.size);
                voided.push((message, reason));
            }
        }
        if !voided.is_empty() {
            let slots = std::mem::take(&mut self.slots);
            slots.into_iter().for_each(|slot| push(&mut self.slots, slot));
        }
        voided
    }

    /// The number after the last entry.
    fn end(&self) -> u64 {
        self.slots.back().map_or(self.first, |last| last.to + 1)
    }
}

/// Removes the first slot, if all of it is at most this number.
fn pop_up_to<B>(slots: &mut VecDeque<Slot<B>>, up_to: u64) -> Option<Slot<B>> {
    slots.front().filter(|slot| slot.to <= up_to)?;
    slots.pop_front()
}

/// Appends a slot, which a neighbour without a message takes in if it has the same reason.
fn push<B>(slots: &mut VecDeque<Slot<B>>, slot: Slot<B>) {
    match (slots.back_mut(), &slot.entry) {
        (Some(Slot { to, entry: Entry::Void(before) }), Entry::Void(reason))
            if before == reason =>
        {
            *to = slot.to;
        }
        _ => slots.push_back(slot),
    }
}

impl<B> Entry<B> {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Message(message) => message.size,
            Self::Void(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64) -> Entry<u64> {
        Entry::Message(Message {
            tag: Tag(number),
            size: 100,
            sent_at_ms: None,
            expires_at: None,
            redelivered: false,
            body: number,
        })
    }

    fn outbound(count: u64) -> Outbound<u64> {
        let mut it = Outbound::new(Lane::Normal, StreamId([1; 16]), 1, 0, 0);
        (1..=count).for_each(|number| it.load(number, message(number)));
        it
    }

    fn ack(up_to: u64) -> Ack {
        let (tag, rejected) = (Tag(up_to), Vec::new());
        Ack { handle: 1, up_to, tag, credit_to: up_to + 64, credit_bytes: 1 << 18, rejected }
    }

    fn sent(it: &mut Outbound<u64>) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| it.transmit().map(|(from, to, ..)| (from, to))).collect()
    }

    #[test]
    fn what_is_voided_takes_no_memory_for_each() {
        let mut it = outbound(1_000);
        let voided = it.void(|message| (message.body % 500 != 0).then_some(SkipReason::Expired));
        assert_eq!((voided.len(), it.slots.len()), (998, 4));
        assert_eq!(it.waiting(), Waiting { messages: 2, bytes: 200 });
        it.announce(1);
        assert_eq!(sent(&mut it), [(1, 499)], "the initial credit ends before number 500");
        assert!(matches!(it.on_ack(&Ack { tag: Tag(0), ..ack(499) }), Ok(Answer::Settled(_))));
        assert_eq!(sent(&mut it), [(500, 500), (501, 999)]);
    }

    #[test]
    fn an_acknowledgement_settles_up_to_its_number_and_allows_more() {
        let mut it = outbound(100);
        it.announce(1);
        assert_eq!(sent(&mut it).len(), 8);
        let Ok(Answer::Settled(settled)) = it.on_ack(&ack(3)) else { panic!("foreign") };
        assert_eq!(settled, [(Tag(1), false), (Tag(2), false), (Tag(3), false)]);
        assert_eq!(sent(&mut it).last(), Some(&(67, 67)));
        for (up_to, low, high) in [(2, 3, 67), (68, 3, 67)] {
            let error = it.on_ack(&ack(up_to)).err();
            let bad = Violation::BadAck { handle: 1, up_to, from: low, to: high };
            assert_eq!(error, Some(bad));
        }
    }

    #[test]
    fn after_a_reconnect_nothing_is_sent_before_the_position_is_known() {
        let mut it = outbound(10);
        it.announce(1);
        sent(&mut it);
        it.disconnect();
        it.announce(1);
        assert_eq!(sent(&mut it), []);
        assert!(it.void(|_| Some(SkipReason::Expired)).iter().all(|(message, _)| message.body > 8));
        it.on_ack(&ack(5)).map(drop).unwrap();
        let again: Vec<_> =
            std::iter::from_fn(|| it.transmit().map(|sent| (sent.0, sent.2))).collect();
        assert_eq!(again, [(6, true), (7, true), (8, true), (9, false)]);
    }

    #[test]
    fn a_receiver_that_knows_more_or_another_message_is_foreign() {
        for wrong in [ack(11), Ack { tag: Tag(77), ..ack(4) }] {
            let mut it = outbound(10);
            it.announce(1);
            sent(&mut it);
            it.disconnect();
            it.announce(1);
            assert!(matches!(it.on_ack(&wrong), Ok(Answer::Foreign)));
            it.renumber(StreamId([2; 16]));
            let resume = it.announce(2);
            assert_eq!((resume.oldest, resume.newest), (1, 10));
            let Some((1, 1, _, Entry::Message(first))) = it.transmit() else { panic!("nothing") };
            assert!(first.redelivered);
        }
    }

    #[test]
    fn a_message_bigger_than_the_credit_goes_alone() {
        let mut it = Outbound::new(Lane::Normal, StreamId([1; 16]), 1, 0, 0);
        for number in 1..=3 {
            let Entry::Message(one) = message(number) else { unreachable!() };
            let size = if number == 2 { 1 << 20 } else { 100 };
            it.load(number, Entry::Message(Message { size, ..one }));
        }
        it.announce(1);
        for number in 1..=3 {
            assert_eq!(sent(&mut it), [(number, number)]);
            it.on_ack(&ack(number)).map(drop).unwrap();
        }
    }

    #[test]
    fn what_is_rewound_is_sent_again() {
        let mut it = outbound(6);
        it.announce(1);
        sent(&mut it);
        it.rewind(1, 2).unwrap();
        let again: Vec<_> =
            std::iter::from_fn(|| it.transmit().map(|sent| (sent.0, sent.2))).collect();
        assert_eq!(again, [(3, true), (4, true), (5, true), (6, true)]);
        assert!(it.rewind(1, 7).is_err());
    }
}
