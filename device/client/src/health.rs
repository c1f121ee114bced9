//! A snapshot of everything that the client knows about its connection's health.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_device_core::{QueueStatus, State, Stored, Time};
use fedecks_protocol::{DeviceId, Lane};
use serde::Serialize;

use crate::clock::BootClock;
use crate::status::Status;
use crate::tls::{TrustedTime, VerificationTime};
use crate::traffic::TrafficCounters;
use crate::url::CloudUrl;

#[doc(inline)]
pub use crate::status::{Failure, FailureReason};
#[doc(inline)]
pub use crate::traffic::Traffic;

/// The health of a [`Client`](crate::Client). Times of day are seconds since 1970-01-01 UTC by the
/// current system clock, right or wrong; ages and delays do not depend on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ConnectionHealth {
    /// The device's id.
    pub device_id: String,
    /// The cloud's URL.
    pub url: String,
    /// How long ago the client started, in seconds.
    pub uptime_s: u64,
    /// `loading`, `unregistered`, `late`, `offline`, `waiting`, `dialing`, `connected` or `closed`.
    pub state: &'static str,
    /// For how long it has been in this state, in seconds.
    pub state_for_s: u64,
    /// The time of day when the connection was established; none unless connected.
    pub connected_since: Option<u64>,
    /// Milliseconds until the next attempt; none unless the client waits for one.
    pub next_attempt_in_ms: Option<u64>,
    /// What the network watch reported last: `up`, `down`, or `unknown` before its first report and after a
    /// `down` that a response of the cloud refuted.
    pub network: &'static str,
    /// Number of attempts since the start.
    pub attempts: u64,
    /// Number of attempts and connections that have failed since one was stable.
    pub failures: u32,
    /// The last failure, if any.
    pub last_failure: Option<FailureHealth>,
    /// The last refusal by the cloud, if any.
    pub last_refusal: Option<FailureHealth>,
    /// The token that reconnects the device, if there is one.
    pub token: Option<TokenHealth>,
    /// The token store.
    pub store: StoreHealth,
    /// The system clock.
    pub clock: ClockHealth,
    /// Messages and bytes in both directions.
    pub traffic: Traffic,
    /// The messages that are kept until the cloud has acknowledged them.
    pub queue: QueueHealth,
    /// The kept messages from the cloud that wait for the application.
    pub inbox: InboxHealth,
    /// Round-trip time of the last ping that was answered, in milliseconds.
    pub round_trip_ms: Option<f64>,
}

/// The queue of kept messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueHealth {
    /// Messages that are not acknowledged, in memory and on disk.
    pub messages: u64,
    /// What those take that are kept in memory, in bytes.
    pub bytes: u64,
    /// Messages that were lost since the start: expired, dropped, or rejected by the cloud.
    pub lost: u64,
    /// Those that are on disk.
    pub disk: DiskQueueHealth,
    /// The lanes in which messages wait.
    pub lanes: Vec<LaneQueueHealth>,
}

/// The kept messages of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LaneQueueHealth {
    /// `normal` or `urgent`.
    pub lane: &'static str,
    /// Messages that are kept in memory.
    pub in_memory: u64,
    /// What those take, in bytes.
    pub bytes: u64,
    /// Messages that are on disk, or on their way there.
    pub on_disk: u64,
    /// When the oldest of all was accepted, in seconds since 1970-01-01 UTC, if the clock was plausible.
    pub oldest_at: Option<u64>,
}

/// The kept messages on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskQueueHealth {
    /// Messages that are not acknowledged, on disk or on their way there.
    pub messages: u64,
    /// The bytes of the files.
    pub bytes: u64,
    /// Pieces of the disk that could not be used at the start.
    pub damaged: u64,
    /// Why the queue cannot be written or read; none if it could the last time.
    pub error: Option<String>,
}

/// The kept messages from the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InboxHealth {
    /// Messages that the application has not acknowledged.
    pub messages: u64,
    /// The bytes of their content.
    pub bytes: u64,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailureHealth {
    /// How long ago, in seconds.
    pub ago_s: u64,
    /// A description; for a refusal, its machine-readable code.
    pub reason: String,
}

/// The token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TokenHealth {
    /// The time of day when it expires, according to the cloud.
    pub expires_at: u64,
    /// Whether it is stored. If not, a reboot requires a new login.
    pub is_stored: bool,
    /// Whether the cloud has refused it as expired, and not accepted it since. It is kept and tried again,
    /// as the cloud's clock may be wrong; a login or the cloud's operator helps.
    pub is_late: bool,
}

/// The token store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreHealth {
    /// `ok`; `pending` while a write or a removal is outstanding; `failing` after the last read or write
    /// failed. Failed operations are retried.
    pub state: &'static str,
    /// Its directory.
    pub directory: PathBuf,
    /// Why it fails.
    pub error: Option<String>,
}

/// The system clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClockHealth {
    /// `plausible`; `behind` if it is before the floor; `ahead` if it is more than 20 years after it.
    /// A clock that is behind or ahead is ignored: certificates are verified at the floor.
    pub state: &'static str,
    /// What it shows.
    pub now: u64,
    /// A time of day that has certainly passed: the build time of this program, or a later time received
    /// from a verified cloud.
    pub floor: u64,
}

/// What the health is computed from, in addition to the status.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) device_id: DeviceId,
    pub(crate) url: CloudUrl,
    pub(crate) data_dir: PathBuf,
    pub(crate) started: Time,
    pub(crate) traffic: TrafficCounters,
    pub(crate) trusted_time: TrustedTime,
}

impl Vitals {
    pub(crate) fn health(&self, status: &Status) -> ConnectionHealth {
        let now = BootClock::now();
        let time = self.trusted_time.verification_time();
        let since = |time: Time| now.since(time).as_secs();
        ConnectionHealth {
            device_id: self.device_id.to_string(),
            url: self.url.to_string(),
            uptime_s: since(self.started),
            state: status.state_name(),
            state_for_s: since(status.since),
            connected_since: status
                .connected_since()
                .map(|connected| time.clock.as_secs().saturating_sub(since(connected))),
            next_attempt_in_ms: match status.state {
                State::Waiting { until } | State::Offline { until } | State::Late { until } => {
                    Some(millis(until - now))
                }
                _ => None,
            },
            network: status.network_name(),
            attempts: status.attempts,
            failures: status.failures,
            last_failure: status.last_failure.as_ref().map(|failure| FailureHealth {
                ago_s: since(failure.at),
                reason: failure.reason.to_string(),
            }),
            last_refusal: status.last_refusal.map(|(at, refusal)| FailureHealth {
                ago_s: since(at),
                reason: refusal.reason().to_owned(),
            }),
            token: status.token_expires_at.map(|expires_at| TokenHealth {
                expires_at,
                is_stored: status.stored == Stored::Yes,
                is_late: status.token_is_late,
            }),
            store: store(status, &self.data_dir),
            clock: clock(time, self.trusted_time.floor().as_secs()),
            traffic: self.traffic.read(),
            inbox: InboxHealth { messages: status.inbox.messages, bytes: status.inbox.bytes },
            queue: QueueHealth {
                messages: status.queue.messages,
                bytes: status.queue.bytes,
                lost: status.queue.lost,
                disk: DiskQueueHealth {
                    messages: status.disk_queue.messages,
                    bytes: status.disk_queue.bytes,
                    damaged: status.disk_queue.damaged,
                    error: status.disk_queue.error.clone(),
                },
                lanes: lanes(&status.queue),
            },
            round_trip_ms: status.round_trip.map(|took| took.as_secs_f64() * 1_000.0),
        }
    }
}

/// The lanes in which messages wait.
fn lanes(queue: &QueueStatus) -> Vec<LaneQueueHealth> {
    let lanes = [(Lane::Urgent, queue.urgent), (Lane::Normal, queue.normal)];
    let waiting = lanes.into_iter().filter(|(_, it)| it.in_memory > 0 || it.on_disk > 0);
    let health = waiting.map(|(lane, it)| LaneQueueHealth {
        lane: lane.as_str(),
        in_memory: it.in_memory,
        bytes: it.bytes,
        on_disk: it.on_disk,
        oldest_at: it.oldest_at_ms.map(|ms| ms / 1_000),
    });
    health.collect()
}

fn store(status: &Status, directory: &Path) -> StoreHealth {
    let state = match (&status.store_error, status.stored) {
        (Some(_), _) | (None, Stored::Failed) => "failing",
        (None, Stored::Yes) => "ok",
        (None, _) => "pending",
    };
    StoreHealth { state, directory: directory.to_owned(), error: status.store_error.clone() }
}

fn clock(time: VerificationTime, floor: u64) -> ClockHealth {
    let now = time.clock.as_secs();
    let state = if time.at == time.clock {
        "plausible"
    } else if now < floor {
        "behind"
    } else {
        "ahead"
    };
    ClockHealth { state, now, floor }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::Term;

    use super::*;
    use crate::testing::{NOWHERE, first, trusted_time};

    #[test]
    fn a_clock_before_the_floor_or_decades_after_it_is_wrong() {
        for (year, state) in [(2027, "plausible"), (1970, "behind"), (2050, "ahead")] {
            let time = trusted_time(first(2026, 5), first(year, 1), NOWHERE);
            let health = clock(time.verification_time(), time.floor().as_secs());
            assert_eq!(health.state, state);
        }
    }

    #[test]
    fn health_serializes_as_a_map_with_text_keys() {
        let store = StoreHealth { state: "ok", directory: "/data".into(), error: None };
        let term = Term::from_serialize(&store).unwrap();
        assert_eq!(term.get("directory"), Some(&Term::from("/data")));
        assert_eq!(term.get("error"), Some(&Term::Nil));
    }
}
