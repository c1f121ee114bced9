//! One lane: its stream on this connection, the credit for it, and which call of the store is next.

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_delivery::{Credit, MAX_STREAMS, Violation};
use fedecks_protocol::{Ack, DeliveryFrame, Lane, Resume, Skip, SkipReason, StreamId};
use fedecks_store::{Acknowledged, Acknowledgement, DownEntry, DownRoom, DownWindow};
use tokio::time::Instant;

use super::next::{Call, Next};

pub(in crate::session) struct OutboundLane {
    lane: Lane,
    phase: Phase,
    /// That was announced last, and its handle; 0 if none was.
    stream: StreamId,
    handle: u64,
    /// The number of streams that were announced.
    announced: usize,
    /// All before is acknowledged.
    oldest: u64,
    /// The last number, as far as is known.
    newest: u64,
    /// The last number that was sent on this connection, and is not to be repeated.
    sent: u64,
    /// The last number that was ever sent on this connection.
    highest: u64,
    /// The number and the size of each message that was sent and is not acknowledged.
    in_flight: VecDeque<(u64, u64)>,
    credit_to: u64,
    credit_bytes: u64,
    /// The size of the next message, if it did not fit into the credit; otherwise 0.
    needs: u64,
    /// The store may have more than was sent.
    may_have_more: bool,
    /// Because something was queued since the device has connected.
    is_woken: bool,
    /// What the store does not know yet.
    acknowledgement: Option<Acknowledgement>,
    /// Numbers that could not be sent.
    unsendable: Vec<u64>,
    /// A call of the store.
    pub(in crate::session) call: Option<Call>,
    /// The number of calls in a row that failed.
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No stream is announced, or it is not used any more.
    Closed,
    /// The device has yet to tell its position.
    Announced,
    /// The store has yet to learn it.
    Resuming,
    /// Messages may be sent.
    Open,
    /// The lane has to be numbered again.
    Diverged,
}

/// What is fetched at once, in bytes, so that an urgent message waits for little.
const CHUNK: u64 = 16 * 1024;

/// How long a lane waits after a failure of the store; it doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How long a lane waits at most.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

impl OutboundLane {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            phase: Phase::Closed,
            stream: StreamId([0; 16]),
            handle: 0,
            announced: 0,
            oldest: 1,
            newest: 0,
            sent: 0,
            highest: 0,
            in_flight: VecDeque::new(),
            credit_to: 0,
            credit_bytes: 0,
            needs: 0,
            may_have_more: false,
            is_woken: false,
            acknowledgement: None,
            unsendable: Vec::new(),
            call: None,
            failures: 0,
            retry_at: None,
        }
    }

    pub(in crate::session) fn lane(&self) -> Lane {
        self.lane
    }

    pub(in crate::session) fn handle(&self) -> u64 {
        self.handle
    }

    pub(super) fn look(&mut self, is_woken: bool) {
        self.may_have_more = true;
        self.is_woken |= is_woken;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.call.is_none() && !self.may_have_more && self.acknowledgement.is_none()
    }

    /// When the lane continues after a failure.
    pub(in crate::session) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.call.is_none())
    }

    /// The next call, if one is due and none is in progress. Messages are fetched only with `room` in the socket.
    pub(in crate::session) fn next(&mut self, room: bool, now: Instant) -> Option<Next> {
        if self.call.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.retry_at = None;
        if let Some(acknowledgement) = self.acknowledgement.take() {
            return Some(Next::Acknowledge(acknowledgement));
        }
        match self.phase {
            Phase::Diverged => Some(Next::Renumber),
            Phase::Closed => {
                let is_woken = std::mem::take(&mut self.is_woken);
                std::mem::take(&mut self.may_have_more).then_some(Next::Peek { is_woken })
            }
            Phase::Open if room => self.fetch(),
            Phase::Announced | Phase::Resuming | Phase::Open => None,
        }
    }

    fn fetch(&mut self) -> Option<Next> {
        let messages = self.credit_to.saturating_sub(self.sent).min(Credit::MAX.messages);
        let bytes = self.credit_bytes.saturating_sub(self.bytes_in_flight());
        let fits = self.in_flight.is_empty() || (bytes > 0 && bytes >= self.needs);
        if !self.may_have_more || messages == 0 || !fits {
            return None;
        }
        self.may_have_more = false;
        self.needs = 0;
        let bytes = bytes.clamp(1, CHUNK);
        Some(Next::Fetch(self.sent, DownRoom { messages: messages as usize, bytes }))
    }

    fn bytes_in_flight(&self) -> u64 {
        self.in_flight.iter().map(|(_, size)| size).sum()
    }

    /// What waits in the store: the stream is to be announced if something does. `None` if this connection cannot
    /// announce it.
    pub(in crate::session) fn peeked(
        &mut self,
        window: Option<DownWindow>,
        handle: u64,
    ) -> Option<Option<DeliveryFrame>> {
        self.failures = 0;
        let waiting = window.filter(|window| window.newest >= window.oldest);
        let Some(DownWindow { stream, oldest, newest, .. }) = waiting else {
            return Some(None);
        };
        if (self.handle > 0 && self.stream == stream) || self.announced >= MAX_STREAMS {
            return None;
        }
        (self.phase, self.stream, self.handle) = (Phase::Announced, stream, handle);
        self.announced += 1;
        (self.oldest, self.newest) = (oldest, newest);
        (self.sent, self.highest) = (oldest - 1, oldest - 1);
        (self.credit_to, self.credit_bytes, self.needs) = (0, 0, 0);
        self.in_flight.clear();
        self.unsendable.clear();
        let (handle, lane) = (self.handle, self.lane);
        Some(Some(DeliveryFrame::Resume(Resume { handle, lane, stream, oldest, newest })))
    }

    pub(super) fn on_ack(&mut self, ack: Ack) -> Result<(), Violation> {
        let Ack { handle, up_to, tag, credit_to, credit_bytes, mut rejected } = ack;
        let (low, high) = match self.phase {
            // Its stream is given up.
            Phase::Closed | Phase::Diverged => return Ok(()),
            // Whether the device can be there, the store tells.
            Phase::Announced => (self.oldest - 1, u64::MAX),
            Phase::Resuming | Phase::Open => (self.oldest - 1, self.highest),
        };
        if up_to < low || up_to > high {
            return Err(Violation::BadAck { handle, up_to, from: low, to: high });
        }
        let credit_to = credit_to.min(up_to.saturating_add(Credit::MAX.messages));
        self.credit_to = self.credit_to.max(credit_to);
        self.credit_bytes = credit_bytes.min(Credit::MAX.bytes);
        // The first position of a device may be any number.
        let known = self.oldest..=up_to.min(self.newest.max(self.highest));
        rejected.retain(|sequence| known.contains(sequence));
        self.unsendable.retain(|sequence| {
            let is_done = *sequence <= up_to;
            if is_done {
                rejected.push(*sequence);
            }
            !is_done
        });
        while self.in_flight.front().is_some_and(|(sequence, _)| *sequence <= up_to) {
            self.in_flight.pop_front();
        }
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new();
        }
        let resumed = self.phase == Phase::Announced;
        if resumed {
            (self.phase, self.sent, self.highest) = (Phase::Resuming, up_to, up_to);
        }
        self.sent = self.sent.max(up_to);
        if resumed || up_to >= self.oldest {
            self.oldest = up_to + 1;
            let stream = self.stream;
            self.acknowledge_later(Acknowledgement { stream, up_to, tag, rejected, resumed });
        }
        Ok(())
    }

    /// Adds what the device is done with to what the store does not know yet.
    fn acknowledge_later(&mut self, later: Acknowledgement) {
        self.acknowledgement = Some(match self.acknowledgement.take() {
            Some(mut before) if before.stream == later.stream => {
                before.rejected.extend(later.rejected);
                (before.up_to, before.tag) = (later.up_to, later.tag);
                before
            }
            _ => later,
        });
    }

    pub(super) fn on_rewind(&mut self, handle: u64, to: u64) -> Result<(), Violation> {
        let (low, high) = match self.phase {
            Phase::Closed | Phase::Diverged => return Ok(()),
            Phase::Announced => return Err(Violation::UnknownStream { handle }),
            Phase::Resuming | Phase::Open => (self.oldest - 1, self.sent),
        };
        if to < low || to > high {
            return Err(Violation::BadAck { handle, up_to: to, from: low, to: high });
        }
        if to < self.sent {
            self.sent = to;
            self.in_flight.retain(|(sequence, _)| *sequence <= to);
            self.may_have_more = true;
        }
        self.needs = 0;
        Ok(())
    }

    pub(in crate::session) fn acknowledged(
        &mut self,
        acknowledgement: &Acknowledgement,
        answer: &Acknowledged,
    ) {
        self.failures = 0;
        match answer {
            Acknowledged::Settled(_) if acknowledgement.resumed => {
                self.phase = Phase::Open;
                self.may_have_more |= acknowledgement.up_to < self.newest;
            }
            Acknowledged::Settled(_) => {}
            Acknowledged::UnknownStream => self.give_up_stream(),
            Acknowledged::Diverged => {
                tracing::warn!(
                    lane = %self.lane,
                    up_to = acknowledgement.up_to,
                    "the device knows kept messages that the store does not, numbering what waits again"
                );
                self.acknowledgement = None;
                self.phase = Phase::Diverged;
            }
        }
    }

    /// The store has another stream now.
    fn give_up_stream(&mut self) {
        self.acknowledgement = None;
        self.phase = Phase::Closed;
        self.may_have_more = true;
    }

    pub(in crate::session) fn renumbered(&mut self) {
        self.failures = 0;
        self.give_up_stream();
    }

    /// Takes what was fetched after a number. Returns the entries that may be sent now; the others are fetched again.
    pub(in crate::session) fn fetched(
        &mut self,
        after: u64,
        window: Option<DownWindow>,
    ) -> Vec<DownEntry> {
        self.failures = 0;
        let Some(window) = window.filter(|window| window.stream == self.stream) else {
            self.give_up_stream();
            return Vec::new();
        };
        if after != self.sent || self.phase != Phase::Open {
            self.may_have_more = true;
            return Vec::new();
        }
        self.newest = window.newest;
        self.may_have_more |= window.more;
        let mut allowed = Vec::new();
        for entry in window.entries {
            let (from, to, size) = match &entry {
                DownEntry::Message(it) => (it.sequence, it.sequence, it.body.len() as u64),
                DownEntry::Void { from, to, .. } => (*from, *to, 0),
            };
            let next = self.sent + 1;
            let in_flight = self.bytes_in_flight();
            let is_too_much = size > 0 && in_flight > 0 && in_flight + size > self.credit_bytes;
            if from < next || from > self.credit_to || is_too_much {
                self.needs = if is_too_much { size } else { 0 };
                self.may_have_more = true;
                break;
            }
            if from > next {
                // Acknowledged on an older connection, which the device has forgotten.
                let reason = SkipReason::ReceiverRestored;
                allowed.push(DownEntry::Void { from: next, to: from - 1, reason });
            }
            if let DownEntry::Message(_) = &entry {
                self.in_flight.push_back((to, size));
            }
            self.sent = to;
            self.highest = self.highest.max(to);
            allowed.push(entry);
        }
        allowed
    }

    /// The frame instead of a message that exceeds what this cloud sends. It is settled as rejected.
    pub(in crate::session) fn void(&mut self, sequence: u64) -> DeliveryFrame {
        self.in_flight.retain(|(number, _)| *number != sequence);
        self.unsendable.push(sequence);
        let (from, to, reason) = (sequence, sequence, SkipReason::TooBig);
        DeliveryFrame::Skip(Skip { handle: self.handle, from, to, reason })
    }

    /// The store has failed: the call is repeated after a while. Returns how long that is.
    pub(in crate::session) fn failed(
        &mut self,
        acknowledgement: Option<Acknowledgement>,
        now: Instant,
    ) -> Duration {
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.postpone(acknowledgement, now, wait.min(LONGEST_RETRY));
        wait.min(LONGEST_RETRY)
    }

    /// Repeats a call after a while.
    pub(in crate::session) fn postpone(
        &mut self,
        acknowledgement: Option<Acknowledgement>,
        now: Instant,
        wait: Duration,
    ) {
        match acknowledgement {
            Some(before) => {
                let later = self.acknowledgement.replace(before);
                if let Some(later) = later {
                    self.acknowledge_later(later);
                }
            }
            // Nothing is lost by looking once more.
            None => self.may_have_more = true,
        }
        self.retry_at = Some(now + wait);
    }

    /// What the store should still learn after the end of the session. Not a first position: what follows it may have
    /// been sent on a newer connection.
    pub(in crate::session) fn last(&mut self) -> Option<Acknowledgement> {
        self.acknowledgement.take().filter(|last| !last.resumed)
    }
}
