//! `/devices/{id}/messages` and `/devices/{id}/raw-messages`: send a message to a device.

use fedecks_cloud::DeviceId;
use fedecks_cloud::messaging::DeliverError;
use fedecks_protocol::{EncodeError, Tag};
use fedecks_store::{AuditAction, Role};
use http::{Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::input::{Accepts, Parameter};
use super::request::Request;
use super::route::{Content, Handler, Route, handler};
use super::schemas::Schemas;
use crate::events::{Event, EventPayload};
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
];

pub(super) const ROUTES: &[Route] = &[
    Route::new("sendMessage", Method::POST, "/devices/{id}/messages", handler!(send))
        .role(Role::Send)
        .summary(
            "Send JSON to a device. It becomes a term: an object with a single key that begins with `$` is an \
             escape, for what JSON lacks, unless `literal=true` is given. It is put into the device's queue, and \
             lost if the connection breaks before it is sent",
        )
        .query(&[Parameter::flag(
            "literal",
            "Whether JSON is taken as it is, so that `{\"$ref\": 1}` is a map with the key `$ref`; false by \
             default, when such an object is an escape or refused",
        )])
        .body(Accepts::Message)
        .success(202, "The message is in the device's queue", ACCEPTED)
        .problems(PROBLEMS),
    Route::new("sendRawMessage", Method::POST, "/devices/{id}/raw-messages", handler!(send_raw))
        .role(Role::Send)
        .summary(
            "Send bytes to a device. They are put into the device's queue, and lost if the connection breaks \
             before they are sent",
        )
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
}

async fn send(caller: Caller, mut request: Request) -> Result<Response, Problem> {
    let is_literal = request.flag("literal")?.unwrap_or(false);
    let device = request.known_device(&caller).await?;
    let message = request.message(is_literal).await?;
    request.state.hub.send_message(&device, &message).await.map_err(problem)?;
    let (id, by) = (Tag(rand::random()), caller.actor().to_string());
    Ok(accepted(&caller, &request, device, id, EventPayload::Sent { id, by, message }))
}

async fn send_raw(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.known_device(&caller).await?;
    let bytes = request.body.clone();
    request.state.hub.send_raw(&device, bytes.clone()).await.map_err(problem)?;
    let (id, by) = (Tag(rand::random()), caller.actor().to_string());
    Ok(accepted(&caller, &request, device, id, EventPayload::RawSent { id, by, bytes }))
}

/// Records and answers that a message is in the device's queue.
fn accepted(
    caller: &Caller,
    request: &Request,
    device: DeviceId,
    id: Tag,
    payload: EventPayload,
) -> Response {
    request.state.events.record(Event::now(&device, payload));
    request.audit_later(caller, AuditAction::MessageSent, device);
    let mut response = json_response(&AcceptedMessage { id: id.to_string() });
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn problem(error: DeliverError) -> Problem {
    match error {
        DeliverError::NotConnected => Problem::device_not_connected(),
        DeliverError::QueueFull => {
            Problem::temporary(Code::DeviceQueueFull, "the device's queue is full", 1)
        }
        DeliverError::Encode(error) => {
            let code = match error {
                EncodeError::TooBig { .. } | EncodeError::TooHeavy { .. } => Code::MessageTooBig,
                EncodeError::TooDeep { .. } => Code::MessageTooDeep,
                EncodeError::UnknownFrame | _ => Code::InvalidBody,
            };
            Problem::new(code, format!("cannot encode the message: {error}"))
        }
        DeliverError::Backplane(error) => error.into(),
        error => Problem::temporary(Code::Unavailable, error.to_string(), 1),
    }
}
