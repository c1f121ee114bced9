//! What a session has used of its device's rates, and of the memory that all sessions share. It decides when the
//! session may read, and reads nothing itself.

use std::sync::Arc;
use std::time::Duration;

use fedecks_common::RateLimit;
use tokio::time::Instant;

use super::moment::Moment;
use crate::byte_pool::{BytePool, FREE};
use crate::websocket::socket::{FrameHead, FrameKind};

/// The limits that apply to each session, and what all of them share.
#[derive(Debug)]
pub(crate) struct TrafficLimits {
    /// How many messages a device may send; `None` for no limit.
    pub(crate) messages: Option<RateLimit>,
    /// How many bytes a device may send; `None` for no limit.
    pub(crate) bytes: Option<RateLimit>,
    /// Maximum size of a frame, in bytes.
    pub(crate) max_frame: u32,
    /// The messages that arrive or are handled.
    pub(crate) incoming: Arc<BytePool>,
    /// The messages that wait to be sent.
    pub(crate) outgoing: Arc<BytePool>,
    pub(crate) started: Instant,
}

/// The share of one session. A method that needs the limits of the cloud is given them: a reference to them in every session
/// would take more memory. What the share holds has to be given back by [`Traffic::end`].
#[derive(Debug)]
pub(super) struct Traffic {
    /// When each rate limit would be full again.
    messages_full_at: Moment,
    bytes_full_at: Moment,
    /// The message that is arriving, or has arrived and is not handled yet, in bytes.
    arriving: u32,
    /// Since when, in seconds since the start.
    arriving_since_s: u32,
    /// The message that is handled, in bytes.
    handling: u32,
    /// The memory of what is buffered to be sent, in bytes.
    unsent: u32,
    /// The published message of which the handler makes what is sent, in bytes.
    forwarding: u32,
    /// What is still to be sent of all that waited at a time, in bytes.
    backlog: u32,
    /// That time, in seconds since the start.
    backlog_since_s: u32,
}

/// A fragment that is shorter, in bytes, counts as a message. Longer ones are limited by their bytes.
const SHORT_FRAGMENT: u64 = 512;

/// How often a session that waits for memory asks again.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// How long a message may take to arrive while other sessions wait for the memory that it takes.
const ARRIVAL: Duration = Duration::from_secs(30);

/// How long a device may accept nothing while others wait for the memory that its messages take.
const STALLED: Duration = Duration::from_secs(5);

impl Traffic {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            messages_full_at: now,
            bytes_full_at: now,
            arriving: 0,
            arriving_since_s: 0,
            handling: 0,
            unsent: 0,
            forwarding: 0,
            backlog: 0,
            backlog_since_s: now.seconds(),
        }
    }

    /// When the device's rate allows to read again; `None` unless reading has to pause.
    pub(super) fn blocked_until(&self, limits: &TrafficLimits, now: Moment) -> Option<Moment> {
        let blocked = |limit: &Option<RateLimit>, full_at| {
            limit.as_ref().and_then(|limit| limit.blocked_until(full_at, now))
        };
        blocked(&limits.messages, self.messages_full_at)
            .max(blocked(&limits.bytes, self.bytes_full_at))
    }

    /// Counts a frame, if there is memory for it. One that is too big takes none: it is refused at its head.
    pub(super) fn admit(&mut self, limits: &TrafficLimits, head: &FrameHead, now: Moment) -> bool {
        let payload = u32::try_from(head.payload).unwrap_or(u32::MAX);
        // Fragments are collected in a buffer that doubles.
        let weight = match (head.kind, head.is_final) {
            (FrameKind::Control, _) => self.arriving,
            (FrameKind::Begins, true) => payload,
            _ => self.arriving.saturating_add(payload.saturating_mul(2)),
        };
        let is_too_big = payload > limits.max_frame;
        if !is_too_big && !limits.incoming.try_change(self.arriving as usize, weight as usize) {
            return false;
        }
        if self.arriving == 0 {
            self.arriving_since_s = now.seconds();
        }
        if !is_too_big {
            self.arriving = weight;
        }
        self.count(limits, head, now);
        true
    }

    fn count(&mut self, limits: &TrafficLimits, head: &FrameHead, now: Moment) {
        let take = |limit: &Option<RateLimit>, full_at: &mut Moment, tokens: u32| {
            if let Some(limit) = limit {
                limit.take_many(full_at, now, tokens);
            }
        };
        if head.kind != FrameKind::Continues || head.payload < SHORT_FRAGMENT {
            take(&limits.messages, &mut self.messages_full_at, 1);
        }
        let bytes = u32::try_from(head.length()).unwrap_or(u32::MAX);
        take(&limits.bytes, &mut self.bytes_full_at, bytes);
    }

    /// The message that is arriving, in bytes.
    pub(super) fn arriving(&self) -> usize {
        self.arriving as usize
    }

    /// The message that has arrived is ignored.
    pub(super) fn ignored(&mut self, limits: &TrafficLimits) {
        limits.incoming.change(self.arriving as usize, 0);
        self.arriving = 0;
    }

    /// The message that has arrived is handled from now on.
    pub(super) fn handling(&mut self, limits: &TrafficLimits) {
        self.handled(limits);
        self.handling = std::mem::take(&mut self.arriving);
    }

    /// The message that is handled was decoded, and now takes this much memory, in bytes.
    pub(super) fn decoded(&mut self, limits: &TrafficLimits, weight: usize) {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        limits.incoming.change(self.handling as usize, weight as usize);
        self.handling = weight;
    }

    /// The message was handled, or what it forwards is buffered.
    pub(super) fn handled(&mut self, limits: &TrafficLimits) {
        self.decoded(limits, 0);
        limits.outgoing.change(self.forwarding as usize, 0);
        self.forwarding = 0;
    }

    /// A published message was taken from the queue, which counted it.
    pub(super) fn forwarding(&mut self, weight: usize) {
        self.forwarding = u32::try_from(weight).unwrap_or(u32::MAX);
    }

    /// This much was sent, and `waiting` is what still waits, in bytes.
    pub(super) fn sent(&mut self, sent: u32, waiting: impl FnOnce() -> u32, now: Moment) {
        if sent < self.backlog {
            // What a message weighs in the queue may be more than the bytes that are sent for it.
            self.backlog = (self.backlog - sent).min(waiting());
        } else {
            self.backlog = waiting();
            self.backlog_since_s = now.seconds();
        }
    }

    /// What is buffered to be sent takes this much memory, in bytes.
    pub(super) fn set_unsent(&mut self, limits: &TrafficLimits, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        limits.outgoing.change(self.unsent as usize, bytes as usize);
        self.unsent = bytes;
    }

    /// When the session has to end because the message that arrives takes memory that others wait for;
    /// `None` if it takes none.
    pub(super) fn arrival_ends(&self, limits: &TrafficLimits, now: Moment) -> Option<Moment> {
        let until = || Moment::at_second(self.arriving_since_s) + ARRIVAL;
        (self.arriving as usize > FREE).then(|| Self::ends(&limits.incoming, until(), now))
    }

    /// The same for what the device has not accepted since `stalled`, or what waited for it longer than
    /// `timeout` ago and still does.
    pub(super) fn stall_ends(
        &self,
        limits: &TrafficLimits,
        stalled: Moment,
        timeout: Duration,
        now: Moment,
    ) -> Option<Moment> {
        // Most of it may be in the queue.
        if self.unsent.max(self.backlog) as usize <= FREE {
            return None;
        }
        let since = Moment::at_second(self.backlog_since_s);
        let until = (stalled + STALLED).min(since + timeout);
        Some(Self::ends(&limits.outgoing, until, now))
    }

    /// `until`, or, while no one waits, a later time to check that again.
    fn ends(pool: &BytePool, until: Moment, now: Moment) -> Moment {
        if pool.is_starved() { until } else { until.max(now + Duration::from_secs(1)) }
    }

    /// Gives back all that it holds.
    pub(super) fn end(&mut self, limits: &TrafficLimits) {
        self.ignored(limits);
        self.handled(limits);
        self.set_unsent(limits, 0);
    }
}

impl TrafficLimits {
    /// The time of an instant.
    pub(super) fn moment(&self, at: Instant) -> Moment {
        Moment::new(at, self.started)
    }

    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;
    const MINUTE: Duration = Duration::from_secs(60);

    fn limits(incoming: usize) -> TrafficLimits {
        TrafficLimits {
            messages: RateLimit::per_second(10, 20),
            bytes: RateLimit::per_second(1000, 5000),
            max_frame: 60_000,
            incoming: Arc::new(BytePool::new(incoming)),
            outgoing: Arc::new(BytePool::new(100 * KIB)),
            started: Instant::now(),
        }
    }

    fn at_start(incoming: usize) -> (TrafficLimits, Moment) {
        let limits = limits(incoming);
        let now = limits.now();
        (limits, now)
    }

    fn head(first: u8, length: u16) -> FrameHead {
        let [high, low] = length.to_be_bytes();
        FrameHead::parse(&[first, 0x80 | 126, high, low, 0, 0, 0, 0]).unwrap()
    }

    /// How many such frames are admitted before reading pauses.
    fn admitted(first: u8, length: u16) -> usize {
        let (limits, now) = at_start(KIB * KIB);
        let mut traffic = Traffic::new(now);
        let mut admit = || {
            let is_blocked = traffic.blocked_until(&limits, now).is_some();
            !is_blocked && traffic.admit(&limits, &head(first, length), now)
        };
        (0..100).take_while(|_| admit()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn every_short_frame_counts_as_a_message() {
        for first in [0x82, 0x81, 0x89, 0x8a, 0x00] {
            assert_eq!(admitted(first, 0), 20, "{first:x}");
        }
        // 512 bytes and the head.
        assert_eq!(admitted(0x00, 511), 10);
        assert_eq!(admitted(0x00, 512), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_passes_at_once_and_is_paid_back() {
        let (limits, now) = at_start(KIB * KIB);
        let mut traffic = Traffic::new(now);
        assert!(traffic.admit(&limits, &head(0x82, 10_000 - 8), now));
        assert_eq!(traffic.blocked_until(&limits, now), Some(now + Duration::from_millis(5001)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_waits_for_memory_until_another_is_handled() {
        let (limits, now) = at_start(40 * KIB);
        let [mut one, mut other] = [(); 2].map(|()| Traffic::new(now));
        assert!(one.admit(&limits, &head(0x82, 40_000), now));
        one.handling(&limits);
        let fragment = head(0x02, 10_000);
        assert!(!other.admit(&limits, &fragment, now));
        assert!(other.admit(&limits, &head(0x8a, 0), now), "a control frame takes no memory");
        one.decoded(&limits, 100);
        assert!(other.admit(&limits, &fragment, now));
        // It counts twice.
        assert!(other.admit(&limits, &fragment, now) && !other.admit(&limits, &fragment, now));
        one.end(&limits);
        other.end(&limits);
        assert_eq!(limits.incoming.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_refused_anyway_waits_for_no_memory() {
        let (limits, now) = at_start(40 * KIB);
        let mut traffic = Traffic::new(now);
        assert!(traffic.admit(&limits, &head(0x82, 60_001), now));
        assert_eq!((limits.incoming.used(), limits.incoming.is_starved()), (0, false));
        assert!(!traffic.admit(&limits, &head(0x82, 60_000), now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_message_ends_only_while_others_wait_for_memory() {
        let (limits, now) = at_start(40 * KIB);
        let [mut slow, mut other] = [(); 2].map(|()| Traffic::new(now));
        assert_eq!(slow.arrival_ends(&limits, now), None);
        assert!(slow.admit(&limits, &head(0x82, 40_000), now));
        let later = now + Duration::from_secs(3600);
        assert!(slow.arrival_ends(&limits, later).unwrap() > later);
        assert!(!other.admit(&limits, &head(0x82, 10_000), now));
        assert_eq!(slow.arrival_ends(&limits, later), Some(Moment::at_second(0) + ARRIVAL));
        slow.end(&limits);
        assert!(other.admit(&limits, &head(0x82, 10_000), now));
        assert!(other.arrival_ends(&limits, later).unwrap() > later);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unsent_counts_until_the_session_ends() {
        let (limits, now) = at_start(KIB);
        let mut traffic = Traffic::new(now);
        traffic.set_unsent(&limits, FREE);
        assert_eq!(traffic.stall_ends(&limits, now, MINUTE, now), None);
        traffic.set_unsent(&limits, 200 * KIB);
        let later = now + STALLED * 2;
        assert!(traffic.stall_ends(&limits, now, MINUTE, later).unwrap() > later);
        assert!(!limits.outgoing.try_send(FREE + 1));
        assert_eq!(traffic.stall_ends(&limits, now, MINUTE, later), Some(now + STALLED));
        traffic.end(&limits);
        assert_eq!(limits.outgoing.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_in_fewer_bytes_is_no_backlog() {
        let (limits, now) = at_start(KIB);
        let mut traffic = Traffic::new(now);
        // A message that weighs more than the bytes that are sent for it.
        traffic.sent(0, || 100_000, now);
        traffic.sent(10_000, || 0, now);
        let later = now + MINUTE * 2;
        limits.outgoing.change(0, 200 * KIB);
        assert!(!limits.outgoing.try_change(0, FREE + 1));
        assert_eq!(traffic.stall_ends(&limits, later, MINUTE, later), None);
    }
}
