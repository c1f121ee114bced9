//! One stream of a sender: what waits in it, and what is known about how far the receiver is.

mod stored;

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_protocol::{Ack, Lane, Resume, SkipReason, StreamId, Tag};

use crate::limits::Credit;
use crate::violation::Violation;
use crate::waiting::Waiting;

/// A message that waits to be sent and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entry<B> {
    /// A message.
    Message(Message<B>),
    /// None any more.
    Void(SkipReason),
}

/// The entries of a stream from the first number that is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// The tag of a number that is not loaded.
    looked_up: Option<(u64, Tag)>,
    /// It has its numbers since this connection is up, and so no receiver can know others.
    is_renumbered: bool,
    /// It is stored with its numbers, which do not change therefore.
    keeps_numbers: bool,
    /// It is of an earlier start, and nothing is appended any more.
    is_complete: bool,
    link: Option<Link>,
}

/// The last number that a stream can have.
const LAST: u64 = u64::MAX - 1;

/// How many runs of numbers without a message keep their own reasons.
const MAX_VOIDS: usize = 1_000;

/// A message, or neighbours without one for the same reason: so what was dropped takes no memory for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot<B> {
    /// Its last number. The first one follows that of the slot before.
    to: u64,
    entry: Entry<B>,
}

/// The state on the current connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Link {
    handle: u64,
    /// Messages may be sent.
    is_open: bool,
    /// The receiver has told its position.
    is_answered: bool,
    /// The last number that was sent on this connection, and is not to be repeated.
    sent: u64,
    /// What follows this number was not sent on this connection.
    highest: u64,
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
        let first = first.clamp(1, LAST);
        let newest = newest.clamp(first - 1, LAST);
        Self {
            stream,
            lane,
            first,
            before: None,
            slots: VecDeque::new(),
            waiting: Waiting::default(),
            newest,
            tried: tried.min(newest),
            looked_up: None,
            is_renumbered: false,
            keeps_numbers: false,
            is_complete: false,
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
        if sequence == self.end() && sequence <= LAST {
            if let Entry::Message(message) = &entry {
                self.waiting.add(message.size);
            }
            push(&mut self.slots, Slot { to: sequence, entry });
            self.newest = self.newest.max(sequence);
        }
    }

    /// More numbers were given out elsewhere.
    pub(crate) fn extend_to(&mut self, newest: u64) {
        self.newest = self.newest.max(newest.min(LAST));
    }

    pub(crate) fn disconnect(&mut self) {
        self.link = None;
        self.is_renumbered = false;
    }

    /// Announces the stream on a new connection.
    pub(crate) fn announce(&mut self, handle: u64) -> Resume {
        // What was never sent from cannot be known to the receiver.
        let is_new = self.first == 1 && self.tried == 0;
        self.link = Some(Link {
            handle,
            is_open: is_new,
            is_answered: false,
            sent: self.first - 1,
            highest: self.first - 1,
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
        // The receiver holds one entry for each number at most, so that credit bounds what is voided too.
        if from > link.credit_to {
            return None;
        }
        let in_flight = link.in_flight.saturating_add(size);
        if size > 0 && link.in_flight > 0 && in_flight > link.credit_bytes {
            return None;
        }
        link.in_flight = in_flight;
        link.sent = to;
        link.highest = link.highest.max(to);
        let again = from <= self.tried;
        self.tried = self.tried.max(to);
        Some((from, to, again, entry))
    }

    pub(crate) fn on_ack(&mut self, ack: &Ack) -> Result<Answer, Violation> {
        let unknown = Violation::UnknownStream { handle: ack.handle };
        let mut link = self.link.ok_or(unknown)?;
        let ack = &self.within_complete(ack);
        let low = self.first - 1;
        let bad =
            Violation::BadAck { handle: ack.handle, up_to: ack.up_to, from: low, to: link.highest };
        if ack.up_to < low {
            return Err(bad);
        }
        if link.is_answered {
            if ack.up_to > link.highest {
                return Err(bad);
            }
        } else if !self.is_complete && !self.agrees(ack) {
            return if self.is_renumbered || self.keeps_numbers {
                Err(bad)
            } else {
                Ok(Answer::Foreign)
            };
        }
        let mut rejected = ack.rejected.clone();
        rejected.sort_unstable();
        let mut settled = Vec::new();
        while let Some(slot) = pop_up_to(&mut self.slots, ack.up_to) {
            if let Entry::Message(message) = slot.entry {
                if slot.to <= link.sent {
                    link.in_flight = link.in_flight.saturating_sub(message.size);
                }
                self.waiting.remove(message.size);
                settled.push((message.tag, rejected.binary_search(&slot.to).is_ok()));
            }
        }
        if self.first <= ack.up_to {
            self.before = Some(ack.tag).filter(|tag| tag.0 != 0);
            self.first = ack.up_to + 1;
        }
        link.is_open = true;
        link.is_answered = true;
        link.sent = link.sent.max(ack.up_to);
        link.highest = link.highest.max(ack.up_to);
        self.tried = self.tried.max(ack.up_to);
        link.credit_to = ack.credit_to.min(ack.up_to.saturating_add(Credit::MAX.messages));
        link.credit_bytes = ack.credit_bytes.min(Credit::MAX.bytes);
        self.link = Some(link);
        Ok(Answer::Settled(settled))
    }

    /// Whether the acknowledged number carries the message that it does here, as far as both know.
    fn agrees(&self, ack: &Ack) -> bool {
        if ack.up_to > self.newest {
            return false;
        }
        if ack.up_to < self.first {
            return ack.tag.0 == 0 || self.before.is_none_or(|tag| tag == ack.tag);
        }
        let at = self.slots.partition_point(|slot| slot.to < ack.up_to);
        match self.slots.get(at).map(|slot| &slot.entry) {
            Some(Entry::Message(message)) => message.tag == ack.tag,
            // Only what is known not to have arrived is voided.
            Some(Entry::Void(_)) => ack.tag.0 == 0,
            None => match self.looked_up.filter(|(sequence, _)| *sequence == ack.up_to) {
                Some((_, tag)) => tag == ack.tag,
                None => ack.up_to <= self.tried,
            },
        }
    }

    /// The number that this acknowledgement answers a Resume with, if its entry is not loaded.
    pub(crate) fn unverified(&self, ack: &Ack) -> Option<u64> {
        self.link.filter(|link| !link.is_answered)?;
        let sequence = ack.up_to;
        (sequence >= self.end() && sequence <= self.newest).then_some(sequence)
    }

    pub(crate) fn look_up(&mut self, sequence: u64, tag: Tag) {
        self.looked_up = Some((sequence, tag));
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

    /// Numbers everything that waits again, from 1, in another stream.
    pub(crate) fn renumber(&mut self, stream: StreamId, up_to: u64) {
        // A restored sender does not know what it has sent.
        let (tried, mut number) = (self.tried.max(up_to), 0);
        let (mut slots, waiting) = (std::mem::take(&mut self.slots), self.waiting);
        slots.retain_mut(|slot| {
            let Entry::Message(message) = &mut slot.entry else { return false };
            message.redelivered |= slot.to <= tried;
            number += 1;
            slot.to = number;
            true
        });
        *self = Self { slots, waiting, ..Self::new(self.lane, stream, 1, number, 0) };
        self.is_renumbered = true;
    }

    /// Voids the messages that `choose` returns a reason for, if they are known not to have arrived.
    pub(crate) fn void(
        &mut self,
        mut choose: impl FnMut(&Message<B>) -> Option<SkipReason>,
    ) -> Vec<(Message<B>, SkipReason)> {
        let safe = self.safe();
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
            self.merge_voids();
        }
        voided
    }

    /// Makes one of neighbours without a message. Above [`MAX_VOIDS`] also of those with other reasons, so that only
    /// messages take memory, however long there is no connection: then all of them have the first one's reason.
    fn merge_voids(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        slots.into_iter().for_each(|slot| push(&mut self.slots, slot));
        let is_void = |slot: &Slot<B>| matches!(slot.entry, Entry::Void(_));
        if self.slots.iter().filter(|slot| is_void(slot)).count() <= MAX_VOIDS {
            return;
        }
        let slots = std::mem::take(&mut self.slots);
        for slot in slots {
            match self.slots.back_mut() {
                Some(last) if is_void(last) && is_void(&slot) => last.to = slot.to,
                _ => self.slots.push_back(slot),
            }
        }
    }

    /// Voids the message that was the last to be sent, and that did not get on its way.
    pub(crate) fn refuse(&mut self, sequence: u64, reason: SkipReason) -> Option<Tag> {
        let link = self.link.as_mut().filter(|link| link.sent == sequence)?;
        let at = self.slots.partition_point(|slot| slot.to < sequence);
        let slot = self.slots.get_mut(at)?;
        let Entry::Message(Message { tag, size, .. }) = slot.entry else { return None };
        slot.entry = Entry::Void(reason);
        link.in_flight = link.in_flight.saturating_sub(size);
        self.waiting.remove(size);
        Some(tag)
    }

    /// The messages that are known not to have arrived.
    pub(crate) fn unsent(&self) -> impl Iterator<Item = &Message<B>> {
        let safe = self.safe();
        self.slots.iter().filter(move |slot| slot.to > safe).filter_map(|slot| match &slot.entry {
            Entry::Message(message) => Some(message),
            Entry::Void(_) => None,
        })
    }

    /// What follows this number is known not to have arrived.
    fn safe(&self) -> u64 {
        self.link.filter(|link| link.is_open).map_or(self.tried, |link| link.highest)
    }

    /// The number after the last entry.
    fn end(&self) -> u64 {
        self.slots.back().map_or(self.first, |last| (last.to + 1).max(self.first))
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
mod tests;
