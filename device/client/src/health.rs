//! Everything that the client knows of its connection's health, as of one moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_device_core::{State, Stored, Time};
use fedecks_protocol::DeviceId;
use serde::Serialize;

use crate::clock::BootClock;
use crate::status::Status;
use crate::tls::{Judged, TrustedTime};
use crate::traffic::{Meter, Traffic};
use crate::url::CloudUrl;

/// The health of a [`Client`](crate::Client). Times of day are seconds since 1970-01-01 UTC by the
/// system's clock as it stands now, right or wrong; ages and delays do not depend on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConnectionHealth {
    /// Who the device is.
    pub device_id: String,
    /// Where its cloud is.
    pub url: String,
    /// How long ago the client started, in seconds.
    pub uptime_s: u64,
    /// `unregistered`, `offline`, `waiting`, `dialing`, `connected` or `closed`.
    pub state: &'static str,
    /// For how long that has been so, in seconds.
    pub state_for_s: u64,
    /// The time of day when the connection was made; none while there is none.
    pub connected_since: Option<u64>,
    /// When the next attempt begins, in milliseconds from now; none unless it waits for one.
    pub next_attempt_in_ms: Option<u64>,
    /// What the network watch says: `up`, `down`, or `unknown` while it says nothing.
    pub network: &'static str,
    /// How many attempts there were.
    pub attempts: u64,
    /// How many attempts or connections have failed since one was stable.
    pub failures: u32,
    /// What failed last, if anything did.
    pub last_failure: Option<FailureHealth>,
    /// The last time that the cloud itself refused, if it ever did.
    pub last_refusal: Option<FailureHealth>,
    /// The token that brings the device back; none without one.
    pub token: Option<TokenHealth>,
    /// The store of the token.
    pub store: StoreHealth,
    /// The system's clock.
    pub clock: ClockHealth,
    /// What has gone both ways.
    pub traffic: Traffic,
    /// How long the last ping that was answered took to come back, in milliseconds.
    pub round_trip_ms: Option<f64>,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureHealth {
    /// How long ago, in seconds.
    pub ago_s: u64,
    /// What, in words; for a refusal, its machine-readable word.
    pub reason: String,
}

/// The token, but for the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenHealth {
    /// The time of day when it expires, as the cloud said.
    pub expires_at: u64,
    /// Whether the store has it. If not, a reboot would need a new login.
    pub is_stored: bool,
}

/// The store of the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// `ok`; `pending` while something waits to be written or removed; `failing` when it was tried
    /// and could not be read or written. It is tried again.
    pub state: &'static str,
    /// Its folder.
    pub directory: PathBuf,
    /// Why it fails.
    pub error: Option<String>,
}

/// The system's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockHealth {
    /// `plausible`; `behind` if it stands before the floor; `ahead` if it stands more than 20 years
    /// after it. Behind and ahead, certificates are verified at the floor.
    pub state: &'static str,
    /// What it says.
    pub now: u64,
    /// A time of day that is certainly over: this program was built then, or the cloud said so.
    pub floor: u64,
}

/// What health is made of, beside the status.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) device_id: DeviceId,
    pub(crate) url: CloudUrl,
    pub(crate) data_dir: PathBuf,
    pub(crate) started: Time,
    pub(crate) meter: Meter,
    pub(crate) trusted_time: TrustedTime,
}

impl Vitals {
    pub(crate) fn examine(&self, status: &Status) -> ConnectionHealth {
        let now = BootClock::now();
        let judged = self.trusted_time.judge();
        let time_of_day = judged.clock.as_secs();
        let since = |time: Time| now.since(time).as_secs();
        ConnectionHealth {
            device_id: self.device_id.to_string(),
            url: self.url.to_string(),
            uptime_s: since(self.started),
            state: status.state_name(),
            state_for_s: since(status.since),
            connected_since: status
                .connected_since()
                .map(|connected| time_of_day.saturating_sub(since(connected))),
            next_attempt_in_ms: match status.state {
                State::Waiting { until } | State::Offline { until } => Some(millis(until - now)),
                State::Unregistered | State::Dialing { .. } | State::Connected | State::Closed => {
                    None
                }
            },
            network: status.network_name(),
            attempts: status.attempts,
            failures: status.failures,
            last_failure: status.last_failure.as_ref().map(|failure| FailureHealth {
                ago_s: since(failure.at),
                reason: failure.what.clone(),
            }),
            last_refusal: status.last_refusal.map(|(at, refusal)| FailureHealth {
                ago_s: since(at),
                reason: refusal.reason().to_owned(),
            }),
            token: status.token_expires_at.map(|expires_at| TokenHealth {
                expires_at,
                is_stored: status.stored == Stored::Yes,
            }),
            store: store(status, &self.data_dir),
            clock: clock(judged, self.trusted_time.floor().as_secs()),
            traffic: self.meter.read(),
            round_trip_ms: status.round_trip.map(|took| took.as_secs_f64() * 1_000.0),
        }
    }
}

fn store(status: &Status, directory: &Path) -> StoreHealth {
    let state = match (&status.store_error, status.stored) {
        (Some(_), _) | (None, Stored::Failed) => "failing",
        (None, Stored::Pending) => "pending",
        (None, Stored::Yes) => "ok",
    };
    StoreHealth { state, directory: directory.to_owned(), error: status.store_error.clone() }
}

fn clock(judged: Judged, floor: u64) -> ClockHealth {
    let now = judged.clock.as_secs();
    let state = if judged.time == judged.clock {
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
    use crate::tls::trusted_time::testing::{first, trusted_time};

    fn clock_at(build: (u64, u64), now: (u64, u64)) -> ClockHealth {
        let time = trusted_time(
            first(build.0, build.1),
            first(now.0, now.1),
            Path::new("/nonexistent/fedecks"),
        );
        clock(time.judge(), time.floor().as_secs())
    }

    #[test]
    fn a_clock_before_the_floor_or_decades_after_it_is_called_wrong() {
        assert_eq!(clock_at((2026, 5), (2026, 6)).state, "plausible");
        assert_eq!(clock_at((2026, 5), (1970, 1)).state, "behind");
        assert_eq!(clock_at((2026, 5), (2050, 1)).state, "ahead");
    }

    #[test]
    fn health_travels_as_a_map_with_text_keys() {
        let store = StoreHealth { state: "ok", directory: "/data".into(), error: None };
        let term = Term::from_serialize(&store).unwrap();
        assert_eq!(term.get("directory"), Some(&Term::from("/data")));
        assert_eq!(term.get("error"), Some(&Term::Nil));
    }
}
