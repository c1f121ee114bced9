//! A request to the API, once its route is known: its path, its query and its body. Who sent it is in
//! [`Caller`].

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use fedecks_cloud::{DeviceId, Message, Term};
use fedecks_protocol::{Budget, JsonReader, Limits, OverBudget};
use fedecks_store::AuditAction;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::error::Category;

use super::input::{Accepts, Parameter};
use super::memory;
use crate::http::accept;
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::request_memory::Held;
use crate::state::AppState;

pub(crate) struct Request {
    pub(super) state: Arc<AppState>,
    /// The values of the parameters in the path.
    path_values: Vec<String>,
    query: Vec<(String, String)>,
    pub(super) last_event_id: Option<String>,
    pub(super) idempotency_keys: Vec<HeaderValue>,
    /// Whether the client prefers CSV to JSON.
    pub(super) prefers_csv: bool,
    /// Complete, and empty if the route takes none.
    pub(super) body: Bytes,
    /// The memory that the body takes, and what it becomes.
    held: Held,
}

/// How many times larger a message may be in JSON than in the protocol.
const JSON_FACTOR: usize = 8;

/// The largest body that is not a message, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How much of a refused body is read and discarded. A client that is still writing would not read the
/// response that says why.
const DISCARDED: usize = 16 * 1024 * 1024;

/// How long a body is discarded that was refused for lack of memory.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Larger JSON, in bytes, is parsed by a separate thread, one body at a time.
const LARGE_JSON: usize = 64 * 1024;

impl Request {
    pub(super) fn new(
        state: &Arc<AppState>,
        path_values: Vec<String>,
        query: &str,
        parameters: &[Parameter],
        headers: &HeaderMap,
        body: Bytes,
        held: Held,
    ) -> Result<Self, Problem> {
        let query = parse_query(query, parameters)?;
        let last_event_id =
            headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let idempotency_keys = headers.get_all("idempotency-key").iter().cloned().collect();
        let quality = |types: &[&str]| accept::quality(headers, types).unwrap_or(0.0);
        let csv = quality(&["text/csv", "text/*"]);
        let prefers_csv = csv > 0.0 && csv >= quality(&["application/json", "application/*"]);
        Ok(Self {
            state: state.clone(),
            path_values,
            query,
            last_event_id,
            idempotency_keys,
            prefers_csv,
            body,
            held,
        })
    }

    /// The first parameter in the path.
    pub(super) fn name(&self) -> &str {
        self.path_values.first().map_or("", String::as_str)
    }

    /// The second parameter in the path.
    pub(super) fn second_name(&self) -> &str {
        self.path_values.get(1).map_or("", String::as_str)
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
        parse(&self.body)
    }

    /// The body as a message, which counts as what it becomes.
    pub(super) async fn message(&mut self, is_literal: bool) -> Result<Message, Problem> {
        let body = std::mem::take(&mut self.body);
        // While a list grows, its old and its new memory are counted.
        let most = self.state.config.sessions.max_decoded_by_device.saturating_mul(3);
        let term = if body.len() > LARGE_JSON {
            let turn = self.state.request_memory.parsing().await;
            let parsed = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                parse_term(&body, is_literal, most)
            });
            parsed
                .await
                .map_err(|_| Problem::new(Code::InvalidBody, "the body cannot be parsed"))??
        } else {
            parse_term(&body, is_literal, most)?
        };
        let message = Message::from(term);
        // The term and its frame.
        self.hold(message.weight().saturating_mul(2))?;
        Ok(message)
    }

    /// The request takes this much memory from now on, in bytes.
    fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        self.held.set(bytes).map_err(|no_memory| memory::problem(no_memory, &self.held))
    }

    /// Adds an entry to the audit log, for actions that change nothing in the store.
    pub(super) fn audit_later(&self, caller: &Caller, action: AuditAction, device: DeviceId) {
        self.state.audit_trail.add(caller.actor(), action, Some(device), None);
    }
}

/// The parameters in a query, of which each must be one of these.
pub(super) fn parse_query(
    query: &str,
    parameters: &[Parameter],
) -> Result<Vec<(String, String)>, Problem> {
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
    Ok(parsed)
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(json).map_err(|error| json_problem(&error))
}

/// Reads a term that takes at most this much memory, in bytes. If it can only be read literally, the error says
/// how to ask for that.
fn parse_term(json: &[u8], is_literal: bool, most: usize) -> Result<Term, Problem> {
    read_term(json, is_literal, most).map_err(|problem| {
        let helps =
            problem.code == Code::InvalidBody && !is_literal && read_term(json, true, most).is_ok();
        if helps {
            problem.and("literal=true in the query takes JSON as it is, without escapes")
        } else {
            problem
        }
    })
}

fn read_term(json: &[u8], is_literal: bool, most: usize) -> Result<Term, Problem> {
    let limits = Limits { max_decoded: most, max_depth: Limits::MAX_DEPTH, ..Limits::default() };
    let budget = Budget::new(&limits);
    let reader = if is_literal { JsonReader::literal(&budget) } else { JsonReader::new(&budget) };
    let mut json = serde_json::Deserializer::from_slice(json);
    let term = reader.deserialize(&mut json);
    term.and_then(|term| json.end().map(|()| term)).map_err(|error| {
        let code = match budget.exceeded() {
            Some(OverBudget::TooHeavy { .. }) => Code::MessageTooBig,
            Some(OverBudget::TooDeep { .. }) => Code::MessageTooDeep,
            None => return json_problem(&error),
        };
        Problem::new(code, format!("the body: {error}"))
    })
}

fn json_problem(error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::new(Code::InvalidBody, error.to_string()),
        _ => Problem::new(Code::InvalidJson, format!("the body: {error}")),
    }
}

/// Reads a body of the expected type, up to its maximum size, if there is memory for it: as soon as the
/// request says how long it is, and otherwise as it arrives.
pub(super) async fn read_body<C: Buf>(
    expected: &Accepts,
    headers: &HeaderMap,
    chunks: impl Stream<Item = Result<C, warp::Error>>,
    state: &AppState,
    held: &mut Held,
) -> Result<Bytes, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let frame = state.config.sessions.max_frame as usize;
    let max = match expected {
        Accepts::Json(_) => MAX_BODY,
        Accepts::LargeJson(_, most) => *most,
        Accepts::Message => frame.saturating_mul(JSON_FACTOR),
        Accepts::Bytes => frame,
    };
    if essence != expected.media_type() {
        return Err(other_media_type(expected, kind, &essence));
    }
    let too_big = || Problem::new(Code::BodyTooBig, format!("expected at most {max} bytes"));
    let mut chunks = std::pin::pin!(chunks);
    let declared =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > max) {
        discard(chunks).await;
        return Err(too_big());
    }
    let mut taken = held.take(declared.unwrap_or_default());
    let mut body = Vec::new();
    while taken.is_ok() {
        let Some(chunk) = chunks.next().await else {
            return Ok(body.into());
        };
        let mut chunk = chunk.map_err(|_| Problem::incomplete_body())?;
        if body.len() + chunk.remaining() > max {
            drop(body);
            discard(chunks).await;
            return Err(too_big());
        }
        if declared.is_none() {
            taken = held.take(chunk.remaining());
        }
        body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    drop(body);
    let no_memory = taken.err().map(|no_memory| memory::problem(no_memory, held));
    // Ends early if there is nothing to discard.
    let _ = tokio::time::timeout(DISCARD_TIME, discard(chunks)).await;
    Err(no_memory.unwrap_or_else(too_big))
}

fn other_media_type(expected: &Accepts, kind: &str, essence: &str) -> Problem {
    let detail = format!("content-type is {kind:?}, expected {}", expected.media_type());
    let problem = Problem::new(Code::UnsupportedMediaType, detail);
    match expected {
        Accepts::Message if essence == Accepts::Bytes.media_type() => {
            problem.and("bytes are sent to /devices/{id}/raw-messages")
        }
        Accepts::Bytes if essence == Accepts::Message.media_type() => {
            problem.and("JSON is sent to /devices/{id}/messages")
        }
        Accepts::Json(_) | Accepts::LargeJson(..) | Accepts::Message | Accepts::Bytes => problem,
    }
}

async fn discard<C: Buf>(mut chunks: impl Stream<Item = Result<C, warp::Error>> + Unpin) {
    let mut left = DISCARDED;
    while let Some(Ok(chunk)) = chunks.next().await {
        left = left.saturating_sub(chunk.remaining());
        if left == 0 {
            break;
        }
    }
}
