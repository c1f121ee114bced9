//! The application in the cloud: it sends and receives by the HTTP API.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedecks_testing::history::{Answer, Direction, Fate, Lane};
use fedecks_testing::http::{Http, Response};
use fedecks_testing::inbox::Inbox;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use crate::keep::{Keep, Received};
use crate::pair::DEVICE;

/// How often a request with a key is repeated while there is no answer.
const REPEATS: usize = 50;

/// Sends a message. One that is kept is sent until there is an answer, with the same key.
pub(crate) async fn send(api: &Http, keep: Keep, lane: Lane, number: u64) -> Answer {
    let (path, body) = keep.cloud_send(DEVICE, lane, number);
    let Some(key) = keep.idempotency_key(lane, number) else {
        return keep.cloud_answer(answer(api, Method::POST, &path, body).await);
    };
    let api = api.clone().header("idempotency-key", &key);
    let mut may_be_queued = false;
    for _ in 0..REPEATS {
        let answer = answer(&api, Method::POST, &path, body.clone()).await;
        match keep.cloud_answer(answer) {
            Answer::Unknown => may_be_queued = true,
            // Of this request, not of the earlier one.
            Answer::Refused if may_be_queued => {}
            answer @ (Answer::Accepted(..) | Answer::Refused) => return answer,
        }
        sleep(Duration::from_millis(200)).await;
    }
    Answer::Unknown
}

/// What the API says of the kept messages to the device, by their ids: the final states of those that have one. Nothing, if
/// the server does not know the device.
pub(crate) async fn states(api: &Http, keep: Keep) -> BTreeMap<String, Option<Fate>> {
    let (mut states, mut cursor) = (BTreeMap::new(), None);
    while let Some(path) = keep.cloud_states(DEVICE, cursor.as_deref()) {
        let (status, page) = answer(api, Method::GET, &path, String::new()).await.unwrap();
        if status == StatusCode::NOT_FOUND {
            break;
        }
        assert_eq!(status, StatusCode::OK, "{page}");
        for message in page["messages"].as_array().unwrap() {
            let fate = match message["state"].as_str().unwrap() {
                "delivered" => Some(Fate::Delivered),
                "rejected" | "expired" | "dropped" => Some(Fate::Lost),
                _ => None,
            };
            states.insert(message["id"].as_str().unwrap().to_owned(), fate);
        }
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    states
}

/// A page of the log of kept messages, and where the next one begins, unless the server is away.
pub(crate) async fn log(api: &Http, keep: Keep, after: &str) -> Option<(Vec<Received>, String)> {
    let path = keep.cloud_log(DEVICE, after)?;
    let (status, page) = answer(api, Method::GET, &path, String::new()).await?;
    if status != StatusCode::OK {
        return None;
    }
    let listed = page["messages"].as_array().unwrap();
    let received = listed.iter().filter_map(|it| keep.cloud_logged(it)).collect();
    Some((received, page["next"].as_str().unwrap().to_owned()))
}

/// Where the reader of the log is.
#[derive(Default)]
pub(crate) struct Cursor(Mutex<(u64, u64)>);

impl Cursor {
    /// With a number that changes when it is set back.
    fn get(&self) -> (u64, u64) {
        *self.0.lock().unwrap()
    }

    /// Moves it forward from what [`Cursor::get`] has returned, unless it was set back since.
    fn advance(&self, from: (u64, u64), to: &str) {
        let mut cursor = self.0.lock().unwrap();
        if *cursor == from {
            cursor.1 = to.parse().unwrap();
        }
    }

    /// Sets it back to the end of a restored log, as docs/cloud.md says.
    pub(crate) fn set_back(&self, end: &str) {
        let mut cursor = self.0.lock().unwrap();
        *cursor = (cursor.0 + 1, cursor.1.min(end.parse().unwrap()));
    }
}

/// A complete answer, unless the server is away.
async fn answer(
    api: &Http,
    method: Method,
    path: &str,
    body: String,
) -> Option<(StatusCode, Value)> {
    let mut response = api.try_open(method, path, body).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        bytes.extend_from_slice(&chunk);
    }
    Some((response.status(), serde_json::from_slice(&bytes).unwrap_or_default()))
}

/// Reads the stream of events, and opens it again whenever it ends.
pub(crate) struct Reader {
    pub(crate) api: Http,
    pub(crate) keep: Keep,
    pub(crate) inbox: Inbox,
    pub(crate) cursor: Arc<Cursor>,
    /// How often the stream said that events are missing.
    pub(crate) gaps: Arc<AtomicU64>,
}

impl Reader {
    /// Receives until it is dropped. `ready` is called when nothing that is sent from then on is missed.
    pub(crate) async fn read(self, ready: impl FnOnce()) {
        let mut ready = Some(ready);
        while self.keep.is_kept() {
            let from = self.cursor.get();
            if let Some((received, next)) = log(&self.api, self.keep, &from.1.to_string()).await {
                if let Some(ready) = ready.take() {
                    ready();
                }
                received.into_iter().for_each(|it| it.enter(Direction::Up, &self.inbox));
                self.cursor.advance(from, &next);
            }
            sleep(Duration::from_millis(50)).await;
        }
        let mut last = None;
        loop {
            let path = self.keep.cloud_events(DEVICE, last.as_deref());
            let response = self.api.try_open(Method::GET, &path, "").await;
            if let Some(stream) = response.filter(|it| it.status() == StatusCode::OK) {
                if let Some(ready) = ready.take() {
                    ready();
                }
                self.follow(stream, &mut last).await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads events until the stream ends, which it does without a notice when the server is killed.
    async fn follow(&self, mut stream: Response, last: &mut Option<String>) {
        let mut line = Vec::new();
        while let Ok(Some(bytes)) = stream.chunk().await {
            for byte in bytes {
                if byte == b'\n' {
                    self.take(&line, last);
                    line.clear();
                } else {
                    line.push(byte);
                }
            }
        }
    }

    fn take(&self, line: &[u8], last: &mut Option<String>) {
        if let Some(id) = line.strip_prefix(b"id: ") {
            *last = Some(String::from_utf8_lossy(id).into_owned());
        } else if line == b"event: gap" {
            self.gaps.fetch_add(1, Relaxed);
        } else if let Some(data) = line.strip_prefix(b"data: ") {
            let event: Value = serde_json::from_slice(data).unwrap();
            self.keep
                .cloud_received(&event)
                .into_iter()
                .for_each(|it| it.enter(Direction::Up, &self.inbox));
        }
    }
}
