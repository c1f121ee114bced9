//! Those that only watch: the readers of event streams, and what asks each server whether it is ready.

use std::rc::Rc;
use std::time::Duration;

use fedecks_testing::fleet_history::FleetEntry;
use fedecks_testing::http::{Http, Response};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::application::listed_message;
use crate::world::World;

/// A stream that is silent for so long is opened again. It has a heartbeat each second.
const SILENCE: Duration = Duration::from_secs(4);

/// Asks a server whether it is ready, several times a second. Never returns.
pub(crate) async fn asks_whether_ready(node: usize, api: Http, world: Rc<World>) {
    loop {
        if let Some(is_cut_off) = is_cut_off(&api).await {
            world.history.add(FleetEntry::Says { node, is_cut_off });
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Whether a server says that it lacks something; `None` if it does not answer.
pub(crate) async fn is_cut_off(api: &Http) -> Option<bool> {
    let answered = async {
        let response = api.try_open(Method::GET, "/readyz", "").await?;
        let is_ready = response.status() == StatusCode::OK;
        let text = response.text().await.ok()?;
        Some(!is_ready || text.contains("cut-off") || text.contains("failing"))
    };
    timeout(Duration::from_secs(1), answered).await.ok()?
}

/// Reads the event stream of a server, and opens it again whenever it ends. Never returns.
pub(crate) async fn reads_events(node: usize, api: Http, world: Rc<World>) {
    let mut last: Option<String> = None;
    loop {
        let after = last.as_ref().map(|id| format!("&after={id}")).unwrap_or_default();
        let path = format!("/api/v1/events?kind=message&heartbeat=1{after}");
        let response = api.try_open(Method::GET, &path, "").await;
        if let Some(stream) = response.filter(|response| response.status() == StatusCode::OK) {
            if last.is_none() {
                world.history.add(FleetEntry::Gap(node));
            }
            world.streams[node].set(true);
            follow(node, stream, &mut last, &world).await;
            world.streams[node].set(false);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Reads events until the stream ends, which it does without a notice when the server is killed.
async fn follow(node: usize, mut stream: Response, last: &mut Option<String>, world: &World) {
    let mut line = Vec::new();
    while let Ok(Ok(Some(bytes))) = timeout(SILENCE, stream.chunk()).await {
        for byte in bytes {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            take(node, &line, last, world);
            line.clear();
        }
    }
}

fn take(node: usize, line: &[u8], last: &mut Option<String>, world: &World) {
    if let Some(id) = line.strip_prefix(b"id: ") {
        *last = Some(String::from_utf8_lossy(id).into_owned());
    } else if line == b"event: gap" {
        world.history.add(FleetEntry::Gap(node));
    } else if let Some(data) = line.strip_prefix(b"data: ") {
        let event: Value = serde_json::from_slice(data).unwrap_or_default();
        if let Some((device, message)) = listed_message(&event, world) {
            let device = device.number;
            world.history.add(FleetEntry::Shown { node, device, message });
        }
    }
}
