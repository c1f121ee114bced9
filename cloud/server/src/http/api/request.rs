//! A request to the API, once its route is known: its path, its query and its body. Who sent it is in
//! [`Caller`].

use std::sync::Arc;

use bytes::{Buf, Bytes};
use fedecks_cloud::DeviceId;
use fedecks_store::AuditAction;
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::input::{Accepts, Parameter};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::state::AppState;

pub(crate) struct Request {
    pub(super) state: Arc<AppState>,
    /// The values of the parameters in the path.
    path_values: Vec<String>,
    query: Vec<(String, String)>,
    pub(super) last_event_id: Option<String>,
    pub(super) body: Body,
}

/// A complete body, empty if the route takes none.
#[derive(Default)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) is_json: bool,
}

/// How many times larger a message may be in JSON than in the protocol.
const JSON_FACTOR: usize = 8;

/// The largest body that is not a message, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How much of a body that is too large is read and discarded. A client that is still writing would not
/// read the response that says why.
const DISCARDED: usize = 16 * 1024 * 1024;

impl Request {
    pub(super) fn new(
        state: &Arc<AppState>,
        path_values: Vec<String>,
        query: &str,
        parameters: &[Parameter],
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, Problem> {
        let invalid = |detail| Err(Problem::new(Code::InvalidQuery, detail));
        let mut parsed: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(known) = parameters.iter().find(|known| known.name == name) else {
                let names: Vec<_> = parameters.iter().map(|known| known.name).collect();
                let expected = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return invalid(format!("unknown parameter {name:?}, expected {expected}"));
            };
            if !known.repeats && parsed.iter().any(|(other, _)| *other == name) {
                return invalid(format!("query parameter {name} is given more than once"));
            }
            parsed.push((name.into_owned(), value.into_owned()));
        }
        let last_event_id =
            headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(Self { state: state.clone(), path_values, query: parsed, last_event_id, body })
    }

    /// The first parameter in the path.
    pub(super) fn name(&self) -> &str {
        self.path_values.first().map_or("", String::as_str)
    }

    /// The device in the path, if the caller may see it. It need not exist, which is answered alike.
    pub(super) fn device(&self, caller: &Caller) -> Result<DeviceId, Problem> {
        let device = DeviceId::new(self.name()).map_err(|_| Problem::device_not_found())?;
        if caller.can_see(&device) { Ok(device) } else { Err(Problem::device_not_found()) }
    }

    /// The device in the path, if it exists and the caller may see it. A connected device is found
    /// without the store.
    pub(super) async fn known_device(&self, caller: &Caller) -> Result<DeviceId, Problem> {
        let device = self.device(caller)?;
        let AppState { hub, devices, .. } = &*self.state;
        if hub.find(&device).await?.is_some() || devices.device(&device).await?.is_some() {
            Ok(device)
        } else {
            Err(Problem::device_not_found())
        }
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query_all(name).next()
    }

    fn query_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as `parse` reads it, if it is given.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        Ok(self.parsed_all(name, expected, parse)?.pop())
    }

    /// [`Request::parsed`] for a parameter that may be given more than once.
    pub(super) fn parsed_all<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Problem> {
        let invalid = |text: &str| {
            Problem::new(Code::InvalidQuery, format!("{name} is {text:?}, expected {expected}"))
        };
        self.query_all(name).map(|text| parse(text).ok_or_else(|| invalid(text))).collect()
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.parsed(name, "true or false", |text| text.parse().ok())
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body.bytes).map_err(|error| match error.classify() {
            Category::Data => Problem::new(Code::InvalidBody, error.to_string()),
            _ => Problem::new(Code::InvalidJson, format!("the body: {error}")),
        })
    }

    /// Adds an entry to the audit log, for actions that change nothing in the store.
    pub(super) fn audit_later(&self, caller: &Caller, action: AuditAction, device: DeviceId) {
        self.state.audit_trail.add(caller.actor(), action, Some(device), None);
    }
}

/// Reads a body of one of the expected types, up to its maximum size.
pub(super) async fn read_body<C: Buf>(
    expected: &Accepts,
    headers: &HeaderMap,
    chunks: impl Stream<Item = Result<C, warp::Error>>,
    state: &AppState,
) -> Result<Body, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let frame = state.config.sessions.max_frame as usize;
    let (is_json, max) = match (expected, essence.as_str()) {
        (Accepts::Json(_), "application/json") => (true, MAX_BODY),
        (Accepts::Message, "application/json") => (true, frame.saturating_mul(JSON_FACTOR)),
        (Accepts::Message, "application/octet-stream") => (false, frame),
        _ => {
            let expected = expected.media_types().join(" or ");
            let detail = format!("content-type is {kind:?}, expected {expected}");
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
    };
    let mut body = Vec::new();
    let mut length = 0_usize;
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let incomplete =
            |_| Problem::new(Code::InvalidBody, "the body is incomplete or came too slowly");
        let mut chunk = chunk.map_err(incomplete)?;
        length += chunk.remaining();
        if length <= max {
            body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        } else if length > max + DISCARDED {
            break;
        }
    }
    if length > max {
        return Err(Problem::new(Code::BodyTooBig, format!("expected at most {max} bytes")));
    }
    Ok(Body { bytes: body.into(), is_json })
}
