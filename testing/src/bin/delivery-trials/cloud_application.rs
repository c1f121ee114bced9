//! The application in the cloud: it sends and receives by the HTTP API.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fedecks_testing::history::{Answer, Fate, Lane};
use fedecks_testing::http::{Http, Response};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use crate::inbox::Inbox;
use crate::keep::Keep;
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

/// What the API says of the kept messages to the device, by their ids.
pub(crate) async fn fates(api: &Http, keep: Keep) -> HashMap<String, Fate> {
    let (mut fates, mut cursor) = (HashMap::new(), None);
    while let Some(path) = keep.cloud_states(DEVICE, cursor.as_deref()) {
        let (status, page) = answer(api, Method::GET, &path, String::new()).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{page}");
        for message in page["messages"].as_array().unwrap() {
            let fate = match message["state"].as_str().unwrap() {
                "delivered" => Fate::Delivered,
                "rejected" | "expired" | "dropped" => Fate::Lost,
                _ => continue,
            };
            fates.insert(message["id"].as_str().unwrap().to_owned(), fate);
        }
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    fates
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
    /// How often the stream said that events are missing.
    pub(crate) gaps: Arc<AtomicU64>,
}

impl Reader {
    /// Receives until it is dropped. `ready` is called when nothing that is sent from then on is missed.
    pub(crate) async fn read(self, ready: impl FnOnce()) {
        let mut ready = Some(ready);
        let mut next = "0".to_owned();
        while let Some(path) = self.keep.cloud_log(DEVICE, &next) {
            if let Some(page) = self.page(&path).await {
                if let Some(ready) = ready.take() {
                    ready();
                }
                let listed = page["messages"].as_array().unwrap();
                let received = listed.iter().filter_map(|it| self.keep.cloud_logged(it));
                received.for_each(|it| self.inbox.receive(it));
                page["next"].as_str().unwrap().clone_into(&mut next);
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

    /// A page of the log of kept messages, unless the server is away.
    async fn page(&self, path: &str) -> Option<Value> {
        let (status, page) = answer(&self.api, Method::GET, path, String::new()).await?;
        (status == StatusCode::OK).then_some(page)
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
            self.keep.cloud_received(&event).into_iter().for_each(|it| self.inbox.receive(it));
        }
    }
}
