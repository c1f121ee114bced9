//! `/devices/{id}/messages` and `/devices/{id}/raw-messages`: send a message to a device, kept or not.

use fedecks_cloud::DeviceId;
use fedecks_cloud::messaging::DeliverError;
use fedecks_cloud::messaging::backplane::Payload;
use fedecks_protocol::Tag;
use fedecks_store::{Actor, AuditAction, DownState, Role};
use http::{Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::input::{Accepts, Parameter};
use super::keep::{self, COLLAPSE_KEY, EXPIRES_IN, IDEMPOTENCY_KEY, KEEP, LANE, encode_problem};
use super::request::Request;
use super::route::{Content, Handler, Route, handler};
use super::schemas::Schemas;
use crate::audit_trail::AuditTrail;
use crate::events::{Assurance, Event, EventLog, EventPayload};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;

const ACCEPTED: Content = Content::Json(Schemas::of::<AcceptedMessage>);

const PROBLEMS: &[Code] = &[
    Code::StoreUnavailable,
    Code::DeviceNotFound,
    Code::DeviceNotConnected,
    Code::MessageTooBig,
    Code::MessageTooDeep,
    Code::DeviceQueueFull,
    Code::Unavailable,
    Code::InvalidHeader,
    Code::QueueFull,
    Code::StoreFull,
    Code::IdempotencyKeyReused,
];

pub(super) const ROUTES: &[Route] = &[
    Route::new("sendMessage", Method::POST, "/devices/{id}/messages", handler!(send))
        .role(Role::Send)
        .summary(
            "Send JSON to a device. It becomes a term: an object with a single key that begins with `$` is an \
             escape, for what JSON lacks, unless `literal=true` is given. It is put into the queue of the device's \
             connection, and lost if that breaks before it is sent; or with `keep=true` into the store, until the device \
             has acknowledged it",
        )
        .query(&[
            Parameter::flag(
                "literal",
                "Whether JSON is taken as it is, so that `{\"$ref\": 1}` is a map with the key `$ref`; false by \
                 default, when such an object is an escape or refused",
            ),
            KEEP,
            LANE,
            EXPIRES_IN,
            COLLAPSE_KEY,
        ])
        .headers(&[IDEMPOTENCY_KEY])
        .body(Accepts::Message)
        .success(202, "The message is in the device's queue", ACCEPTED)
        .problems(PROBLEMS),
    Route::new("sendRawMessage", Method::POST, "/devices/{id}/raw-messages", handler!(send_raw))
        .role(Role::Send)
        .summary(
            "Send bytes to a device. They are put into the queue of the device's connection, and lost if that breaks \
             before they are sent; or with `keep=true` into the store, until the device has acknowledged them",
        )
        .query(&[KEEP, LANE, EXPIRES_IN, COLLAPSE_KEY])
        .headers(&[IDEMPOTENCY_KEY])
        .body(Accepts::Bytes)
        .success(202, "The bytes are in the device's queue", ACCEPTED)
        .problems(PROBLEMS),
];

/// A message that was accepted.
#[derive(Debug, Serialize, ToSchema)]
struct AcceptedMessage {
    /// The id of the message, which events about it have as `message_id`. Opaque.
    #[schema(min_length = 16, max_length = 64, pattern = "^[0-9A-Za-z_-]+$")]
    id: String,
    /// `kept` until the device has acknowledged it, or `sent` at most once.
    assurance: String,
    /// `queued` for a kept message, whose state can be asked for by its id; null for any other.
    #[schema(required)]
    state: Option<String>,
}

async fn send(caller: Caller, mut request: Request) -> Result<Response, Problem> {
    let is_literal = request.flag("literal")?.unwrap_or(false);
    let keep = keep::options(&request)?;
    let device = request.known_device(&caller).await?;
    let message = request.message(is_literal).await?;
    let accepted = Accepted::new(&caller, &request, &device);
    let by = accepted.by.to_string();
    let Some(keep) = keep else {
        request.state.hub.send_message(&device, &message).await.map_err(problem)?;
        let (id, assurance) = (Tag(rand::random()), Assurance::Sent);
        accepted.record(EventPayload::Sent { id, by, assurance, message });
        return Ok(answer(id, assurance));
    };
    let assurance = Assurance::Kept;
    let payload = Payload::Message(message.clone());
    let record = move |id| accepted.record(EventPayload::Sent { id, by, assurance, message });
    Ok(answer(keep.queue(&caller, &request, device, payload, record).await?, assurance))
}

async fn send_raw(caller: Caller, request: Request) -> Result<Response, Problem> {
    let keep = keep::options(&request)?;
    let device = request.known_device(&caller).await?;
    let bytes = request.body.clone();
    let accepted = Accepted::new(&caller, &request, &device);
    let by = accepted.by.to_string();
    let Some(keep) = keep else {
        request.state.hub.send_raw(&device, bytes.clone()).await.map_err(problem)?;
        let (id, assurance) = (Tag(rand::random()), Assurance::Sent);
        accepted.record(EventPayload::RawSent { id, by, assurance, bytes });
        return Ok(answer(id, assurance));
    };
    let assurance = Assurance::Kept;
    let payload = Payload::Raw(bytes.clone());
    let record = move |id| accepted.record(EventPayload::RawSent { id, by, assurance, bytes });
    Ok(answer(keep.queue(&caller, &request, device, payload, record).await?, assurance))
}

/// Records that a message is in the device's queue.
struct Accepted {
    events: EventLog,
    trail: AuditTrail,
    by: Actor,
    device: DeviceId,
}

impl Accepted {
    fn new(caller: &Caller, request: &Request, device: &DeviceId) -> Self {
        let (events, trail) = (request.state.events.clone(), request.state.audit_trail.clone());
        Self { events, trail, by: caller.actor(), device: device.clone() }
    }

    fn record(self, payload: EventPayload) {
        let Self { events, trail, by, device } = self;
        events.record(Event::now(&device, payload));
        trail.add(by, AuditAction::MessageSent, Some(device), None);
    }
}

fn answer(id: Tag, assurance: Assurance) -> Response {
    let state = match assurance {
        Assurance::Kept => Some(DownState::Queued.as_str().to_owned()),
        Assurance::Sent => None,
    };
    let assurance = assurance.as_str().to_owned();
    let mut response = json_response(&AcceptedMessage { id: id.to_string(), assurance, state });
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn problem(error: DeliverError) -> Problem {
    match error {
        DeliverError::NotConnected => Problem::device_not_connected(),
        DeliverError::QueueFull => {
            Problem::temporary(Code::DeviceQueueFull, "the device's queue is full", 1)
        }
        DeliverError::Encode(error) => encode_problem(&error),
        DeliverError::Backplane(error) => error.into(),
        error => Problem::temporary(Code::Unavailable, error.to_string(), 1),
    }
}
