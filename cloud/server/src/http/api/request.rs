//! A call of the API by somebody who may make it: its path, its query and its body.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use data_encoding::BASE64URL_NOPAD;
use fedecks_cloud::DeviceId;
use fedecks_store::{AuditAction, AuditEntry, unix_now};
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::input::{Accepts, Parameter};
use crate::http::auth::Caller;
use crate::http::problem::{Code, Problem, found};
use crate::state::AppState;

/// The body of a request as it comes in.
pub(super) trait Body: Stream<Item = Result<Self::Chunk, warp::Error>> + Send {
    type Chunk: Buf;
}

impl<S, C> Body for S
where
    S: Stream<Item = Result<C, warp::Error>> + Send,
    C: Buf,
{
    type Chunk = C;
}

/// A call of the API by somebody who may make it.
pub(crate) struct Request {
    pub(super) state: Arc<AppState>,
    pub(super) caller: Caller,
    /// What stands in the place of `{id}` and the like.
    values: Vec<String>,
    query: Vec<(String, String)>,
    pub(super) last_event_id: Option<String>,
    content: Option<Content>,
}

/// A body, whole.
pub(super) enum Content {
    Json(Bytes),
    Raw(Bytes),
}

/// What a message may be longer in JSON than in the protocol, and how big any other body may be.
const MORE_IN_JSON: usize = 8;

/// The biggest body that is no message, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How much of a body that is too big is read to nowhere: whoever is still writing does not read why
/// the connection is closed.
const DISCARDED: usize = 16 * 1024 * 1024;

impl Request {
    pub(super) fn new(
        state: &Arc<AppState>,
        caller: Caller,
        values: Vec<String>,
        query: &str,
        headers: &HeaderMap,
        content: Option<Content>,
        parameters: &[Parameter],
    ) -> Result<Self, Problem> {
        let mut parsed: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(known) = parameters.iter().find(|known| known.name == name) else {
                let names: Vec<_> = parameters.iter().map(|known| known.name).collect();
                let expected = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let detail = format!("unknown parameter {name:?}, expected {expected}");
                return Err(Problem::new(Code::InvalidQuery, detail));
            };
            if !known.repeats && parsed.iter().any(|(other, _)| *other == name) {
                let detail = format!("{name} stands there twice, expected it once");
                return Err(Problem::new(Code::InvalidQuery, detail));
            }
            parsed.push((name.into_owned(), value.into_owned()));
        }
        let last_event_id =
            headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(Self { state: state.clone(), caller, values, query: parsed, last_event_id, content })
    }

    /// The first value of the path.
    pub(super) fn name(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    /// The device of the path, if the caller may see it. Whether it exists is another question, with
    /// the same answer.
    pub(super) fn device(&self) -> Result<DeviceId, Problem> {
        let device = DeviceId::new(self.name()).map_err(|_| Problem::device_not_found())?;
        if self.caller.sees(&device) { Ok(device) } else { Err(Problem::device_not_found()) }
    }

    /// The device of the path, if it is known. One that is connected needs no store for that.
    pub(super) async fn known_device(&self) -> Result<DeviceId, Problem> {
        let device = self.device()?;
        let AppState { hub, devices, .. } = &*self.state;
        if hub.find(&device).await?.is_some() || devices.device(&device).await?.is_some() {
            Ok(device)
        } else {
            Err(Problem::device_not_found())
        }
    }

    /// Where the page of devices begins.
    pub(super) fn cursor(&self) -> Result<Option<DeviceId>, Problem> {
        self.parsed("cursor", "the `next` of another page", |text| {
            let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
            DeviceId::new(String::from_utf8(bytes).ok()?).ok()
        })
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query_all(name).next()
    }

    pub(super) fn query_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that `parse` makes something of.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.query(name) else { return Ok(None) };
        let wrong =
            || Problem::new(Code::InvalidQuery, format!("{name} is {text:?}, expected {expected}"));
        parse(text).ok_or_else(wrong).map(Some)
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.parsed(name, "true or false", |text| text.parse().ok())
    }

    /// How many things there may be in the answer.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let in_range = |text: &str| text.parse().ok().filter(|limit| (1..=500).contains(limit));
        Ok(self.parsed("limit", "1 to 500", in_range)?.unwrap_or(100))
    }

    /// A line in the audit log about what is no change of the store.
    pub(super) fn audit_later(
        &self,
        action: AuditAction,
        device: DeviceId,
        detail: Option<String>,
    ) {
        let (at, by) = (unix_now(), self.caller.actor());
        self.state.audit.audit_later(AuditEntry { at, by, action, device: Some(device), detail });
    }

    pub(super) fn content(&self) -> Option<&Content> {
        self.content.as_ref()
    }

    /// The body as the JSON that it has to be.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes = match &self.content {
            Some(Content::Json(bytes) | Content::Raw(bytes)) => bytes.clone(),
            None => Bytes::new(),
        };
        serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Problem::new(Code::InvalidBody, error.to_string()),
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => {
                Problem::new(Code::InvalidJson, found("the body", error))
            }
        })
    }
}

/// The cursor of the page after the one that ends with this device.
pub(super) fn to_cursor(device: &DeviceId) -> String {
    BASE64URL_NOPAD.encode(device.as_str().as_bytes())
}

/// Reads a body that is one of those that are expected, up to the most that it may be.
pub(super) async fn read_body<B: Body>(
    expected: &Accepts,
    headers: &HeaderMap,
    body: B,
    state: &AppState,
) -> Result<Content, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let frame = state.config.sessions.max_frame as usize;
    let (is_json, most) = match (expected, essence.as_str()) {
        (Accepts::Json(_), "application/json") => (true, MAX_BODY),
        (Accepts::Message, "application/json") => (true, frame.saturating_mul(MORE_IN_JSON)),
        (Accepts::Message, "application/octet-stream") => (false, frame),
        (Accepts::Json(_) | Accepts::Message, _) => {
            let expected = expected.media_types().join(" or ");
            let detail = format!("content-type is {kind:?}, expected {expected}");
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
    };
    let mut whole = Vec::new();
    let mut length = 0_usize;
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| {
            Problem::new(Code::InvalidBody, "the body did not come whole and in time")
        })?;
        length += chunk.remaining();
        if length <= most {
            whole.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        } else if length > most + DISCARDED {
            break;
        }
    }
    if length > most {
        return Err(Problem::new(Code::BodyTooBig, format!("expected at most {most} bytes")));
    }
    let whole = Bytes::from(whole);
    Ok(if is_json { Content::Json(whole) } else { Content::Raw(whole) })
}
