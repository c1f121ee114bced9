//! The sending end of all streams: what is sent next, and what became of what was sent.

mod stored;

use std::time::Duration;

use fedecks_protocol::{Ack, Lane, Resume, Skip, SkipReason, StreamId, Tag};

use crate::limits::MAX_STREAMS;
use crate::outbound::{Answer, Entry, Message, Outbound};
use crate::violation::Violation;
use crate::waiting::Waiting;

/// Sends the messages of all lanes, the urgent one first, and older streams of a lane before newer ones. What
/// waits is in memory, or is loaded when [`Sender::to_load`] says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sender<B> {
    /// Older ones first.
    streams: Vec<Outbound<B>>,
    /// Lanes of which only complete streams are sent.
    held: Vec<Lane>,
    is_connected: bool,
    last_handle: u64,
}

/// What to send next.
#[derive(Debug, Clone, PartialEq)]
pub enum Transmit<B> {
    /// Announce a stream.
    Resume(Resume),
    /// A message.
    Message {
        /// The stream.
        handle: u64,
        /// Its number.
        sequence: u64,
        /// The message, with the flag as it has to be sent.
        message: Message<B>,
    },
    /// Numbers without a message.
    Skip(Skip),
    /// The stream is finished.
    Close {
        /// The stream.
        handle: u64,
    },
}

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The receiver has it.
    Delivered,
    /// The receiver rejected it for good.
    Rejected,
    /// It was given up before it was sent; with [`SkipReason::OtherCloud`] it may have been sent to that one.
    Voided(SkipReason),
}

/// The effect of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acked {
    /// The stream.
    pub stream: Option<StreamId>,
    /// Messages that are settled.
    pub settled: Vec<(Tag, Settled)>,
    /// The receiver knows what this end does not: everything that waits was numbered again.
    pub renumbered: Option<Renumbered>,
}

/// A stream that was replaced by a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renumbered {
    /// Its lane.
    pub lane: Lane,
    /// The stream that is given up.
    pub from: StreamId,
    /// The new one.
    pub to: StreamId,
}

impl<B> Default for Sender<B> {
    fn default() -> Self {
        Self { streams: Vec::new(), held: Vec::new(), is_connected: false, last_handle: 0 }
    }
}

impl<B: Clone> Sender<B> {
    /// Opens a stream whose numbers `oldest..=newest` wait; those up to `tried` may have been sent. A new stream
    /// is `(1, 0, 0)`. False if the lane has [`MAX_STREAMS`] already,
    /// or if the stream is open.
    pub fn open(
        &mut self,
        lane: Lane,
        stream: StreamId,
        (oldest, newest, tried): (u64, u64, u64),
    ) -> bool {
        let of_lane = self.streams.iter().filter(|it| it.lane == lane).count();
        let fits = of_lane < MAX_STREAMS && self.streams.iter().all(|it| it.stream != stream);
        if fits {
            self.streams.push(Outbound::new(lane, stream, oldest, newest, tried));
        }
        fits
    }

    /// Adds a message to the stream, and returns its number. `None` if there is no such stream, or if not all of
    /// it is loaded.
    pub fn append(&mut self, stream: StreamId, message: Message<B>) -> Option<u64> {
        let it = self.find(stream)?;
        if it.to_load().is_some() {
            return None;
        }
        let sequence = it.newest().saturating_add(1);
        it.load(sequence, Entry::Message(message));
        (it.newest() == sequence).then_some(sequence)
    }

    /// Numbers up to `newest` were given out, to be loaded.
    pub fn extend(&mut self, stream: StreamId, newest: u64) {
        if let Some(it) = self.find(stream) {
            it.extend_to(newest);
        }
    }

    /// Adds an entry that was loaded. Ignores one that is not the next.
    pub fn load(&mut self, stream: StreamId, sequence: u64, entry: Entry<B>) {
        if let Some(it) = self.find(stream) {
            it.load(sequence, entry);
        }
    }

    /// The first number of a stream that is to be loaded next: there is room in the window of what is sent.
    pub fn to_load(&self, messages: usize, bytes: u64) -> Option<(StreamId, u64)> {
        self.streams.iter().find_map(|it| {
            let from = it.to_load()?;
            let (count, held) = it.entries().fold((0, 0_u64), |(count, bytes), entry| {
                (count + 1, bytes.saturating_add(entry.size()))
            });
            (count < messages && held < bytes).then_some((it.stream, from))
        })
    }

    /// A connection is up whose other end takes kept messages.
    pub fn connect(&mut self) {
        self.disconnect();
        self.is_connected = true;
        self.last_handle = 0;
    }

    /// The connection has ended.
    pub fn disconnect(&mut self) {
        self.is_connected = false;
        self.streams.iter_mut().for_each(Outbound::disconnect);
    }

    /// What to send next; `None` if there is nothing, or no credit.
    pub fn poll_transmit(&mut self) -> Option<Transmit<B>> {
        if !self.is_connected {
            return None;
        }
        let unannounced = |it: &&mut Outbound<B>| it.handle().is_none() && it.is_waiting();
        if let Some(it) = self.streams.iter_mut().find(unannounced) {
            self.last_handle += 1;
            return Some(Transmit::Resume(it.announce(self.last_handle)));
        }
        Lane::ALL.into_iter().find_map(|lane| {
            let next = self.streams.iter_mut().find(|it| it.lane == lane && !it.is_sent())?;
            if self.held.contains(&lane) && !next.is_complete() {
                return None;
            }
            let handle = next.handle()?;
            let (from, to, again, entry) = next.transmit()?;
            Some(match entry {
                Entry::Message(mut message) => {
                    message.redelivered |= again;
                    Transmit::Message { handle, sequence: from, message }
                }
                Entry::Void(reason) => Transmit::Skip(Skip { handle, from, to, reason }),
            })
        })
    }

    /// The stream and the number whose tag this acknowledgement depends on, if it is not loaded. Tell it by
    /// [`Sender::look_up`] before [`Sender::on_ack`], or what a restored store does not have may be taken for
    /// delivered.
    pub fn unverified(&self, ack: &Ack) -> Option<(StreamId, u64)> {
        let it = self.streams.iter().find(|it| it.handle() == Some(ack.handle))?;
        it.unverified(ack).map(|sequence| (it.stream, sequence))
    }

    /// The tag of a number that is not loaded; 0 if it carries no message.
    pub fn look_up(&mut self, stream: StreamId, sequence: u64, tag: Tag) {
        if let Some(it) = self.find(stream) {
            it.look_up(sequence, tag);
        }
    }

    /// Takes an acknowledgement. Numbers that are not loaded are not in the new stream of
    /// [`Acked::renumbered`]; [`Sender::extend`] it by them. If the stream has to be numbered again it gets the id `fresh`, which must be
    /// random.
    pub fn on_ack(&mut self, ack: &Ack, fresh: StreamId) -> Result<Acked, Violation> {
        if self.is_past(ack.handle) {
            return Ok(Acked::default());
        }
        let unknown = Violation::UnknownStream { handle: ack.handle };
        let it = self.by_handle(ack.handle).ok_or(unknown)?;
        let mut acked = Acked { stream: Some(it.stream), ..Acked::default() };
        match it.on_ack(ack)? {
            Answer::Settled(settled) => {
                let settled = settled.into_iter().map(|(tag, rejected)| {
                    (tag, if rejected { Settled::Rejected } else { Settled::Delivered })
                });
                acked.settled = settled.collect();
            }
            Answer::Foreign => {
                acked.renumbered = Some(Renumbered { lane: it.lane, from: it.stream, to: fresh });
                it.renumber(fresh, ack.up_to);
            }
        }
        Ok(acked)
    }

    /// The receiver asks to repeat what follows a number.
    pub fn on_rewind(&mut self, handle: u64, to: u64) -> Result<(), Violation> {
        if self.is_past(handle) {
            return Ok(());
        }
        let unknown = Violation::UnknownStream { handle };
        self.by_handle(handle).ok_or(unknown)?.rewind(handle, to)
    }

    /// The last message that [`Sender::poll_transmit`] returned cannot be sent, for example because it exceeds
    /// what the other end takes: its number is voided, and the caller sends a Skip of it.
    pub fn refuse(&mut self, handle: u64, sequence: u64, reason: SkipReason) -> Option<Tag> {
        self.by_handle(handle)?.refuse(sequence, reason)
    }

    /// Removes a stream in which nothing waits, such as one of an earlier start; says so to the other end if
    /// that knows it.
    pub fn close_finished(&mut self, except: &[StreamId]) -> Vec<(StreamId, Option<Transmit<B>>)> {
        let mut closed = Vec::new();
        self.streams.retain(|it| {
            let keep = it.is_waiting() || except.contains(&it.stream);
            if !keep {
                closed.push((it.stream, it.handle().map(|handle| Transmit::Close { handle })));
            }
            keep
        });
        closed
    }

    /// Voids what expires at `now`, if it is known not to have arrived.
    pub fn expire(&mut self, now: Duration) -> Vec<(Tag, Settled)> {
        let due = |message: &Message<B>| message.expires_at.is_some_and(|at| at <= now);
        self.void(|message| due(message).then_some(SkipReason::Expired))
    }

    /// When the next message expires, of those that are known not to have arrived. Changes with every
    /// acknowledgement.
    pub fn next_expiry(&self) -> Option<Duration> {
        let unsent = self.streams.iter().flat_map(Outbound::unsent);
        unsent.filter_map(|message| message.expires_at).min()
    }

    /// Voids a message that is known not to have arrived.
    pub fn cancel(&mut self, tag: Tag) -> bool {
        !self.void(|message| (message.tag == tag).then_some(SkipReason::Cancelled)).is_empty()
    }

    /// Voids the oldest messages of a lane that are known not to have arrived, until `bytes` are free. Each takes
    /// `overhead` in addition to its size.
    pub fn drop_oldest(&mut self, lane: Lane, bytes: u64, overhead: u64) -> Vec<(Tag, Settled)> {
        let mut left = bytes;
        let mut dropped = Vec::new();
        for it in self.streams.iter_mut().filter(|it| it.lane == lane) {
            let (voided, rest) = it.drop_oldest(left, overhead);
            left = rest;
            dropped.extend(voided.into_iter().map(settled));
        }
        dropped
    }

    /// What waits in memory.
    pub fn waiting(&self) -> Waiting {
        self.streams.iter().map(Outbound::waiting).fold(Waiting::default(), |sum, next| Waiting {
            messages: sum.messages.saturating_add(next.messages),
            bytes: sum.bytes.saturating_add(next.bytes),
        })
    }

    /// Voids everything that is known not to have arrived.
    pub fn clear(&mut self, reason: SkipReason) -> Vec<(Tag, Settled)> {
        self.void(|_| Some(reason))
    }

    /// Gives up all streams with everything in memory, also what was sent and may have arrived: the other end is not
    /// the one that they were for.
    pub fn abandon(&mut self, reason: SkipReason) -> Vec<(Tag, Settled)> {
        let streams = std::mem::take(&mut self.streams);
        let entries = streams.iter().flat_map(Outbound::entries);
        let tag = |entry: &Entry<B>| match entry {
            Entry::Message(message) => Some((message.tag, Settled::Voided(reason))),
            Entry::Void(_) => None,
        };
        entries.filter_map(tag).collect()
    }

    fn void(
        &mut self,
        mut choose: impl FnMut(&Message<B>) -> Option<SkipReason>,
    ) -> Vec<(Tag, Settled)> {
        let voided = self.streams.iter_mut().flat_map(|it| it.void(&mut choose));
        voided.map(settled).collect()
    }

    /// Whether the stream with this handle was closed, or numbered again, since the connection is up. What the
    /// other end sent before it knew is of no use.
    fn is_past(&self, handle: u64) -> bool {
        let is_given = (1..=self.last_handle).contains(&handle);
        is_given && self.streams.iter().all(|it| it.handle() != Some(handle))
    }

    fn find(&mut self, stream: StreamId) -> Option<&mut Outbound<B>> {
        self.streams.iter_mut().find(|it| it.stream == stream)
    }

    fn by_handle(&mut self, handle: u64) -> Option<&mut Outbound<B>> {
        self.streams.iter_mut().find(|it| it.handle() == Some(handle))
    }
}

fn settled<B>((message, reason): (Message<B>, SkipReason)) -> (Tag, Settled) {
    (message.tag, Settled::Voided(reason))
}
