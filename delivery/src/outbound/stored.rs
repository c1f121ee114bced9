//! A stream whose entries are stored elsewhere, of which only a window is in memory.

use fedecks_protocol::{Ack, SkipReason, Tag};

use super::{Entry, LAST, Message, Outbound, Slot, push};
use crate::waiting::Window;

impl<B: Clone> Outbound<B> {
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
        self.keeps_numbers = true;
    }

    pub(crate) fn keep_numbers(&mut self) {
        self.keeps_numbers = true;
    }

    pub(crate) fn load_void(&mut self, to: u64, reason: SkipReason) {
        if to >= self.end() && to <= LAST {
            push(&mut self.slots, Slot { to, entry: Entry::Void(reason) });
            self.newest = self.newest.max(to);
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Forgets the last messages that are known not to have arrived; they are loaded again.
    pub(crate) fn unload(&mut self) {
        let safe = self.safe();
        while let Some(Slot { to, entry: Entry::Message(message) }) = self.slots.back() {
            if *to <= safe {
                return;
            }
            self.waiting.remove(message.size);
            self.slots.pop_back();
        }
    }

    pub(crate) fn window(&self) -> Window {
        let (first, end, newest) = (self.first, self.end(), self.newest);
        Window { first, end, newest, waiting: self.waiting }
    }

    /// An acknowledgement that answers a Resume. A receiver that is behind the end of a stream of an earlier start has
    /// more of it than was stored here, or got it from a copy of this end.
    pub(super) fn within_complete(&self, ack: &Ack) -> Ack {
        let is_answer = self.link.is_some_and(|link| !link.is_answered);
        if self.is_complete && is_answer && ack.up_to > self.newest {
            return Ack { up_to: self.newest, tag: Tag(0), ..ack.clone() };
        }
        ack.clone()
    }

    /// Voids the oldest messages that are known not to have arrived, until `left` bytes are free. Returns what is
    /// left of that too.
    pub(crate) fn drop_oldest(
        &mut self,
        mut left: u64,
        overhead: u64,
    ) -> (Vec<(Message<B>, SkipReason)>, u64) {
        let voided = self.void(|message| {
            let more = left > 0;
            if more {
                left = left.saturating_sub(message.size.saturating_add(overhead));
            }
            more.then_some(SkipReason::QueueFull)
        });
        (voided, left)
    }
}
