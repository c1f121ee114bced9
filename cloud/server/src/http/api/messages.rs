//! `/devices/{id}/messages`: sends a message to a device.

use fedecks_cloud::messaging::DeliverError;
use fedecks_protocol::EncodeError;
use fedecks_store::{AuditAction, Role};
use http::{Method, StatusCode};
use warp::reply::Response;

use super::input::{Accepts, Parameter};
use super::request::Request;
use super::route::{Content, Route, handler};
use crate::events::{Event, EventPayload};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::empty;

pub(super) const ROUTES: &[Route] =
    &[Route::new(Method::POST, "/devices/{id}/messages", handler!(send))
        .role(Role::Send)
        .summary(
            "Send a message to a device: any JSON becomes a term, application/octet-stream is sent as \
             bytes. An object with a single key that begins with `$` is an escape, for what JSON lacks, \
             unless `literal=true` is given. It is put into the device's queue, and lost if the connection breaks before it is \
             sent",
        )
        .query(&[Parameter::flag(
            "literal",
            "Whether JSON is taken as it is, so that `{\"$ref\": 1}` is a map with the key `$ref`; false by \
             default, when such an object is an escape or refused. Bytes are always taken as they are",
        )])
        .body(Accepts::Message)
        .success(202, "The message is in the device's queue", Content::Nothing)
        .problems(&[
            Code::StoreUnavailable,
            Code::DeviceNotFound,
            Code::DeviceNotConnected,
            Code::MessageTooBig,
            Code::MessageTooDeep,
            Code::DeviceQueueFull,
            Code::Unavailable,
        ])];

async fn send(caller: Caller, mut request: Request) -> Result<Response, Problem> {
    let is_literal = request.flag("literal")?.unwrap_or(false);
    let device = request.known_device(&caller).await?;
    let by = caller.actor().to_string();
    let (pushed, payload) = if request.body.is_json {
        let message = request.message(is_literal).await?;
        let pushed = request.state.hub.send_message(&device, &message).await;
        (pushed, EventPayload::Sent { by, message })
    } else {
        let bytes = request.body.bytes.clone();
        let pushed = request.state.hub.send_raw(&device, bytes.clone()).await;
        (pushed, EventPayload::RawSent { by, bytes })
    };
    pushed.map_err(problem)?;
    request.state.events.record(Event::now(&device, payload));
    request.audit_later(&caller, AuditAction::MessageSent, device);
    Ok(empty(StatusCode::ACCEPTED))
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
