//! Sends a message to a device.

use bytes::Bytes;
use fedecks_cloud::messaging::DeliverError;
use fedecks_cloud::{Message, Term};
use fedecks_protocol::{EncodeError, JsonTerm};
use fedecks_store::AuditAction;
use http::StatusCode;
use warp::reply::Response;

use super::connected::not_connected;
use super::request::{Content, Request};
use crate::events::{Event, Happened};
use crate::http::problem::{Code, Problem};
use crate::http::response::empty;

pub(super) async fn send(request: Request) -> Result<Response, Problem> {
    let device = request.known_device().await?;
    let (hub, by) = (&request.state.hub, request.caller.actor().to_string());
    let (pushed, happened) = match request.content() {
        Some(Content::Raw(bytes)) => {
            let bytes: Bytes = bytes.clone();
            let pushed = hub.push_raw(&device, bytes.clone()).await.map_err(|error| error.why);
            (pushed, Happened::RawSent { by, bytes })
        }
        Some(Content::Json(_)) | None => {
            let JsonTerm(term) = request.json::<JsonTerm<Term>>()?;
            let message = Message::from(term);
            let pushed = hub.push_message(&device, &message).await;
            (pushed, Happened::Sent { by, message })
        }
    };
    pushed.map_err(|why| problem(&why))?;
    request.state.events.record(Event::now(&device, happened));
    request.audit_later(AuditAction::MessageSent, device, None);
    Ok(empty(StatusCode::ACCEPTED))
}

fn problem(why: &DeliverError) -> Problem {
    match why {
        DeliverError::NotConnected => not_connected(),
        DeliverError::QueueFull => {
            Problem::for_now(Code::DeviceQueueFull, "too much waits for the device already", 1)
        }
        DeliverError::Encode(error @ EncodeError::TooBig { .. }) => {
            Problem::new(Code::MessageTooBig, format!("the message {error}"))
        }
        DeliverError::Encode(error @ EncodeError::TooDeep { .. }) => {
            Problem::new(Code::MessageTooDeep, format!("the message {error}"))
        }
        DeliverError::Encode(error @ EncodeError::UnknownFrame) => {
            Problem::new(Code::InvalidBody, format!("the message {error}"))
        }
        DeliverError::Backplane(error) => error.clone().into(),
    }
}
