//! One stream of a sender: what waits in it, and what is known about how far the receiver is.

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_protocol::{Ack, Lane, Resume, SkipReason, StreamId, Tag};

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
    entries: VecDeque<Entry<B>>,
    /// The last number that was given out; entries up to it may still have to be loaded.
    newest: u64,
    /// The last number that may have been sent, on any connection.
    tried: u64,
    link: Option<Link>,
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
            entries: VecDeque::new(),
            newest,
            tried,
            link: None,
        }
    }

    pub(crate) fn handle(&self) -> Option<u64> {
        self.link.map(|link| link.handle)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry<B>> {
        self.entries.iter()
    }

    /// Whether something is not acknowledged.
    pub(crate) fn is_waiting(&self) -> bool {
        self.newest >= self.first
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
            self.entries.push_back(entry);
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
        let at = usize::try_from(from - self.first).ok()?;
        let entry = self.entries.get(at)?.clone();
        let mut to = from;
        let size = match &entry {
            Entry::Message(message) => message.size,
            Entry::Void(reason) => {
                let same =
                    |entry: &&Entry<B>| matches!(entry, Entry::Void(other) if other == reason);
                to += self.entries.iter().skip(at + 1).take_while(same).count() as u64;
                0
            }
        };
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
        while self.first <= ack.up_to {
            match self.entries.pop_front() {
                Some(Entry::Message(message)) => {
                    if self.first <= link.sent {
                        link.in_flight -= message.size;
                    }
                    let rejected = ack.rejected.binary_search(&self.first).is_ok();
                    settled.push((message.tag, rejected));
                    self.before = Some(message.tag);
                    self.first += 1;
                }
                Some(Entry::Void(_)) => {
                    self.before = None;
                    self.first += 1;
                }
                // Acknowledged without being loaded again.
                None => {
                    self.before = Some(ack.tag).filter(|tag| tag.0 != 0);
                    self.first = ack.up_to + 1;
                }
            }
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
        let at = usize::try_from(ack.up_to - self.first).ok();
        match at.and_then(|at| self.entries.get(at)) {
            Some(Entry::Message(message)) => message.tag == ack.tag,
            // Voided after it was sent and arrived: only what is known not to have arrived is voided.
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
        let kept = usize::try_from(to - low).unwrap_or(usize::MAX);
        link.in_flight = self.entries.iter().take(kept).map(Entry::size).sum();
        link.sent = to;
        Ok(())
    }

    /// Numbers everything that waits anew, from 1, in another stream.
    pub(crate) fn renumber(&mut self, stream: StreamId) {
        let tried = self.tried;
        let mut number = self.first - 1;
        self.entries.retain_mut(|entry| {
            number += 1;
            match entry {
                Entry::Message(message) => {
                    message.redelivered |= number <= tried;
                    true
                }
                Entry::Void(_) => false,
            }
        });
        *self = Self {
            entries: std::mem::take(&mut self.entries),
            ..Self::new(self.lane, stream, 1, 0, 0)
        };
        self.newest = self.entries.len() as u64;
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
        for (number, entry) in (self.first..).zip(&mut self.entries) {
            if number <= safe {
                continue;
            }
            let Entry::Message(message) = entry else { continue };
            if let Some(reason) = choose(message) {
                if let Entry::Message(message) = std::mem::replace(entry, Entry::Void(reason)) {
                    voided.push((message, reason));
                }
            }
        }
        voided
    }

    /// The number after the last entry.
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
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
