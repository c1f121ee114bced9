//! Event streams by an API token for some devices: all that it can get, and many with a pattern that is
//! slow to match.

use std::time::Duration;

use fedecks_protocol::Term;
use fedecks_testing::http::{Http, Response};
use fedecks_testing::raw_device::RawDevice;
use http::{Method, StatusCode};
use tokio::time::{MissedTickBehavior, interval};

use super::server::Victim;
use crate::error::Result;

/// How many streams the attacker opens: as many as the server has in all.
const STREAMS: usize = 1_000;

/// Messages of one device per second, each of which every stream has to look at.
const MESSAGES_PER_SECOND: u32 = 500;

/// Takes all event streams that the server grants. The operator must still get one.
pub(super) async fn taken(victim: Victim) -> Result<()> {
    let _held = open(&victim.api(), "/api/v1/events").await;
    std::future::pending().await
}

/// Opens streams with a pattern that almost matches at many places of the device's id, while the device
/// sends messages.
pub(super) async fn awkward_patterns(victim: Victim) -> Result<()> {
    let pattern = format!("*{}b", "a".repeat(60));
    let api = victim.api();
    let _held = open(&api, &format!("/api/v1/events?device={pattern}")).await;
    let id = format!("attacked-{}", "a".repeat(100));
    let mut device = RawDevice::connect(victim.address, &id).await;
    let mut tick = interval(Duration::from_secs(1) / MESSAGES_PER_SECOND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        device.say(Term::from("x")).await;
    }
}

/// Opens as many streams as the server grants.
async fn open(api: &Http, path: &str) -> Vec<Response> {
    let mut held = Vec::new();
    while held.len() < STREAMS {
        let response = api.open(Method::GET, path, "").await;
        if response.status() != StatusCode::OK {
            break;
        }
        held.push(response);
    }
    held
}
