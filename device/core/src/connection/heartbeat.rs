//! Signs of life of one link: when to ping, and when it is dead.

use std::time::Duration;

use fedecks_protocol::Welcome;

use crate::time::Time;

/// Whether the other end still lives: pings what is silent and knows when an answer is overdue.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    idle_timeout: Duration,
    sent: Time,
    received: Time,
    /// Deadline of the ping that nothing has answered yet.
    overdue: Option<Time>,
    /// When the ping went out whose pong has not come yet.
    pinged: Option<Time>,
}

impl Heartbeat {
    /// A cloud that asks for a shorter interval gets this one.
    const SHORTEST: Duration = Duration::from_secs(1);
    /// A cloud that asks for a longer interval gets this one.
    const LONGEST: Duration = Duration::from_secs(300);

    pub(super) fn new(now: Time, welcome: &Welcome) -> Self {
        let interval = welcome.heartbeat.clamp(Self::SHORTEST, Self::LONGEST);
        Self {
            interval,
            // A cloud that would drop us between two pings has its numbers wrong.
            idle_timeout: welcome.idle_timeout.max(interval.saturating_mul(2)),
            sent: now,
            received: now,
            overdue: None,
            pinged: None,
        }
    }

    pub(super) fn on_sent(&mut self, now: Time) {
        self.sent = now;
    }

    pub(super) fn on_received(&mut self, now: Time) {
        self.received = now;
        self.overdue = None;
    }

    /// Counts a ping sent now. Gives when its answer is overdue: a ping that is still unanswered keeps
    /// its deadline if that is earlier.
    pub(super) fn on_ping(&mut self, now: Time, deadline: Duration) -> Time {
        self.sent = now;
        // Other traffic may have answered the ping before; its pong comes first all the same.
        self.pinged.get_or_insert(now);
        let at = now + deadline;
        *self.overdue.insert(self.overdue.map_or(at, |earlier| earlier.min(at)))
    }

    /// How long the answer to a ping took, which came just now; none if no ping was out.
    pub(super) fn on_pong(&mut self, now: Time) -> Option<Duration> {
        self.pinged.take().map(|pinged| now - pinged)
    }

    /// When the next ping is due; none while one is unanswered.
    pub(super) fn ping_at(&self) -> Option<Time> {
        match self.overdue {
            Some(_) => None,
            None => Some(self.sent.min(self.received) + self.interval),
        }
    }

    /// Nothing was sent for so long that the cloud has surely dropped the connection: the device
    /// was suspended, or this process was stopped.
    pub(super) fn slept_through(&self, now: Time) -> bool {
        now.since(self.sent) > self.idle_timeout
    }
}
