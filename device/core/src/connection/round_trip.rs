//! How long the cloud takes to answer, and how long a ping or a probe may therefore wait for it. Holds no timers.

use std::time::Duration;

use crate::config::Config;

/// With the default interval of pings, the cloud still waits longer.
const LONGEST_PING: Duration = Duration::from_secs(30);

/// The round-trip time, estimated as TCP does (RFC 6298): from how long the cloud took for the parts of the
/// handshake, and then from pongs. On a link over satellites it is longer than a probe waits by default.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    /// Of the last answered ping, on any connection.
    last: Option<Duration>,
    /// Until an attempt has had an answer, that of the connection before.
    estimate: Option<Estimate>,
    /// The number of probes that have failed since the cloud was last reached.
    failed: u32,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    mean: Duration,
    deviation: Duration,
    by: Measure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// Of an attempt or a connection that has ended.
    Earlier,
    /// Includes what else took time, such as hashing a password or a second address.
    Handshake,
    Pong,
}

impl RoundTrip {
    /// An attempt begins, perhaps over another link.
    pub(super) fn on_dial(&mut self) {
        if let Some(estimate) = &mut self.estimate {
            estimate.by = Measure::Earlier;
        }
    }

    /// The cloud answered in a phase of the attempt. The slowest phase counts: a proxy nearby may have answered
    /// another one.
    pub(super) fn on_answer(&mut self, took: Duration) {
        let is_slower = |it: Estimate| it.by == Measure::Earlier || it.mean < took;
        if self.estimate.is_none_or(is_slower) {
            self.estimate = Some(Estimate::first(took, Measure::Handshake));
        }
    }

    pub(super) fn on_connected(&mut self) {
        self.failed = 0;
    }

    pub(super) fn on_pong(&mut self, took: Duration) {
        self.last = Some(took);
        self.estimate = match self.estimate {
            Some(it) if it.by == Measure::Pong => Some(it.next(took)),
            Some(_) | None => Some(Estimate::first(took, Measure::Pong)),
        };
    }

    /// How long a ping may wait: four round trips if that is longer than by default, because after two at the latest
    /// TCP has sent again what is lost.
    pub(super) fn pong_deadline(&self, config: &Config) -> Duration {
        let measured = self.estimate.filter(|it| it.by == Measure::Pong);
        let slow = measured.map_or(Duration::ZERO, |it| it.mean * 4);
        slow.min(LONGEST_PING).max(config.pong_deadline)
    }

    /// A probe had no answer within its time.
    pub(super) fn on_probe_failed(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }

    /// How long a probe may wait. Each that fails doubles that, so that also a first attempt, about which nothing is
    /// known, succeeds over a slow link on which the network keeps changing.
    pub(super) fn probe_deadline(&self, config: &Config) -> Duration {
        let least = config.probe_deadline;
        let factor = 1_u32.checked_shl(self.failed).unwrap_or(u32::MAX);
        let wait = self.estimate.map_or(least, |it| it.timeout().max(least));
        wait.saturating_mul(factor).min(config.pong_deadline.max(least))
    }

    pub(super) fn last(&self) -> Option<Duration> {
        self.last
    }
}

impl Estimate {
    fn first(took: Duration, by: Measure) -> Self {
        Self { mean: took, deviation: took / 2, by }
    }

    fn next(self, took: Duration) -> Self {
        Self {
            mean: self.mean * 7 / 8 + took / 8,
            deviation: self.deviation * 3 / 4 + self.mean.abs_diff(took) / 4,
            by: self.by,
        }
    }

    /// Four deviations above the mean, and at least twice the mean: then TCP can send what is lost again.
    fn timeout(self) -> Duration {
        self.mean + self.mean.max(self.deviation * 4)
    }
}
