//! The end-to-end keep-alive: what the cloud's session has to confirm, and until when. A proxy may answer pings, but
//! no [`KeepAlive`](fedecks_protocol::UpFrame::KeepAlive).

use std::collections::VecDeque;

use super::output::Output;
use crate::request::{SendError, SendId};
use crate::timers::Timer;

#[derive(Debug, Default)]
pub(super) struct Confirmations {
    /// The number of the last keep-alive.
    last: u64,
    /// Messages, each with the number of the keep-alive that followed it.
    waiting: VecDeque<(u64, SendId)>,
    /// Pings until the next one that a keep-alive goes with.
    pings_left: u8,
}

/// A keep-alive goes with one of this number of pings.
const PINGS: u8 = 3;

impl Confirmations {
    /// The number of a keep-alive that is sent now.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// This message waits for the keep-alive of this number.
    pub(super) fn expect(&mut self, number: u64, send: SendId) {
        self.waiting.push_back((number, send));
    }

    /// Whether the message waits, so that it is answered later.
    pub(super) fn is_expected(&self, send: SendId) -> bool {
        self.waiting.iter().any(|(_, waiting)| *waiting == send)
    }

    /// The message could not be written.
    pub(super) fn forget(&mut self, send: SendId) {
        self.waiting.retain(|(_, waiting)| *waiting != send);
    }

    /// A regular ping is sent. Returns whether a keep-alive goes with it.
    pub(super) fn on_ping(&mut self) -> bool {
        let is_due = self.pings_left == 0;
        self.pings_left = if is_due { PINGS - 1 } else { self.pings_left - 1 };
        is_due
    }

    /// The session has read everything before the keep-alive of this number, or has only shown that it lives if that
    /// is 0. A number that was never sent says no more than 0. Returns whether messages are still waiting.
    pub(super) fn on_alive(&mut self, number: u64, out: &mut Output) -> bool {
        let number = if number > self.last { 0 } else { number };
        while let Some((_, send)) = self.waiting.front().filter(|(waiting, _)| *waiting <= number) {
            out.answer_send(*send, Ok(()));
            self.waiting.pop_front();
        }
        !self.waiting.is_empty()
    }

    /// The link has ended: whether these have arrived is unknown.
    pub(super) fn link_ended(&mut self, out: &mut Output) {
        for (_, send) in self.waiting.drain(..) {
            out.answer_send(send, Err(SendError::Unconfirmed));
        }
        self.pings_left = PINGS - 1;
        out.timers.stop(Timer::Alive);
    }
}
