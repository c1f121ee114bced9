//! The liveness of one link: when to ping, and when it is dead. Holds no timers.

use std::time::Duration;

use fedecks_protocol::Welcome;

use crate::time::Time;

/// Tracks when to ping the other end, and when its answer is overdue.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    idle_timeout: Duration,
    last_sent: Time,
    last_received: Time,
    /// The deadline of an unanswered ping. Any traffic answers it.
    pong_deadline: Option<Time>,
    /// When the ping was sent whose pong is outstanding.
    ping_sent: Option<Time>,
}

impl Heartbeat {
    const MIN_INTERVAL: Duration = Duration::from_secs(1);
    const MAX_INTERVAL: Duration = Duration::from_secs(300);

    pub(super) fn new(now: Time, welcome: &Welcome) -> Self {
        let interval = welcome.heartbeat.clamp(Self::MIN_INTERVAL, Self::MAX_INTERVAL);
        Self {
            interval,
            // A timeout that would drop the device between two pings is a misconfiguration.
            idle_timeout: welcome.idle_timeout.max(interval.saturating_mul(2)),
            last_sent: now,
            last_received: now,
            pong_deadline: None,
            ping_sent: None,
        }
    }

    pub(super) fn on_sent(&mut self, now: Time) {
        self.last_sent = now;
    }

    pub(super) fn on_received(&mut self, now: Time) {
        self.last_received = now;
        self.pong_deadline = None;
    }

    /// Records a ping and returns its deadline. A ping that is still unanswered keeps its deadline if
    /// that is earlier.
    pub(super) fn on_ping(&mut self, now: Time, deadline: Duration) -> Time {
        self.last_sent = now;
        // Other traffic may have answered the previous ping, but its pong still arrives first.
        self.ping_sent.get_or_insert(now);
        let at = now + deadline;
        *self.pong_deadline.insert(self.pong_deadline.map_or(at, |earlier| earlier.min(at)))
    }

    /// Records a pong and returns the round-trip time, unless no ping was sent.
    pub(super) fn on_pong(&mut self, now: Time) -> Option<Duration> {
        self.ping_sent.take().map(|sent| now - sent)
    }

    /// When the next ping is due; `None` while one is unanswered.
    pub(super) fn ping_at(&self) -> Option<Time> {
        match self.pong_deadline {
            Some(_) => None,
            None => Some(self.last_sent.min(self.last_received) + self.interval),
        }
    }

    pub(super) fn last_received(&self) -> Time {
        self.last_received
    }

    /// Whether nothing has been sent for so long that the cloud must have dropped the connection: the
    /// device was suspended, or this process was stopped.
    pub(super) fn was_suspended(&self, now: Time) -> bool {
        now.since(self.last_sent) > self.idle_timeout
    }
}
