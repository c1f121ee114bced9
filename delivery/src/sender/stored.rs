//! Streams whose entries are stored elsewhere, of which only a window is in memory.

use fedecks_protocol::{Lane, SkipReason, StreamId, Tag};

use super::{Sender, Settled, settled};
use crate::outbound::{Entry, Message, Outbound};
use crate::waiting::Window;

impl<B: Clone> Sender<B> {
    /// Opens a stream of an earlier start, whose numbers `oldest..=newest` are to be loaded. All of them may have been
    /// sent, and nothing is appended any more: a receiver that knows a higher number has everything. It goes before
    /// the streams of this start. False as for [`Sender::open`].
    pub fn open_complete(
        &mut self,
        lane: Lane,
        stream: StreamId,
        (oldest, newest): (u64, u64),
    ) -> bool {
        if !self.open(lane, stream, (oldest, newest, newest)) {
            return false;
        }
        if let Some(mut it) = self.streams.pop() {
            it.complete();
            let at = self.streams.iter().take_while(|it| it.is_complete()).count();
            self.streams.insert(at, it);
        }
        true
    }

    /// Holds back the messages of a lane that are not in streams by [`Sender::open_complete`]: older ones follow.
    pub fn hold(&mut self, lane: Lane, is_held: bool) {
        self.held.retain(|it| *it != lane);
        if is_held {
            self.held.push(lane);
        }
    }

    /// Opens a new stream whose entries are stored: it keeps its numbers, also if the receiver knows others. False as
    /// for [`Sender::open`].
    pub fn open_stored(&mut self, lane: Lane, stream: StreamId) -> bool {
        let is_open = self.open(lane, stream, (1, 0, 0));
        if let Some(it) = self.streams.last_mut().filter(|_| is_open) {
            it.keep_numbers();
        }
        is_open
    }

    /// Adds the next numbers up to `to` as ones without a message. Ignores numbers that are there.
    pub fn load_void(&mut self, stream: StreamId, to: u64, reason: SkipReason) {
        if let Some(it) = self.find(stream) {
            it.load_void(to, reason);
        }
    }

    /// Forgets the last messages of a stream that are known not to have arrived, to be loaded again.
    pub fn unload(&mut self, stream: StreamId) {
        if let Some(it) = self.find(stream) {
            it.unload();
        }
    }

    /// What of a stream is in memory; `None` if it is not open.
    pub fn window(&self, stream: StreamId) -> Option<Window> {
        self.streams.iter().find(|it| it.stream == stream).map(Outbound::window)
    }

    /// The first message of a stream that is in memory and not acknowledged.
    pub fn oldest(&self, stream: StreamId) -> Option<&Message<B>> {
        let mut entries = self.streams.iter().find(|it| it.stream == stream)?.entries();
        entries.find_map(|entry| match entry {
            Entry::Message(message) => Some(message),
            Entry::Void(_) => None,
        })
    }

    /// Forgets a stream with everything in it.
    pub fn remove(&mut self, stream: StreamId) {
        self.streams.retain(|it| it.stream != stream);
    }

    /// [`Sender::drop_oldest`] in one stream only.
    pub fn drop_oldest_of(
        &mut self,
        stream: StreamId,
        bytes: u64,
        overhead: u64,
    ) -> Vec<(Tag, Settled)> {
        let Some(it) = self.find(stream) else { return Vec::new() };
        it.drop_oldest(bytes, overhead).0.into_iter().map(settled).collect()
    }
}
