//! `/devices/{id}/requests`: ask a device, and wait for its answer.

use std::time::{Duration, Instant};

use fedecks_cloud::Term;
use fedecks_cloud::messaging::RequestError;
use fedecks_protocol::{JsonTerm, NoReplyReason};
use fedecks_store::{AuditAction, Role};
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::input::{Accepts, Parameter, ParameterKind};
use super::keep::encode_problem;
use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;

/// How long a request waits unless the caller says something else.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that a request waits, in seconds.
const MAX_TIMEOUT_S: usize = 600;

pub(super) const ROUTES: &[Route] =
    &[Route::new("askDevice", Method::POST, "/devices/{id}/requests", handler!(ask))
        .role(Role::Send)
        .summary(
            "Ask a device, and wait for its answer. The body is the question, in JSON like a message. It is sent once, \
             to a device that is connected, and neither stored nor repeated",
        )
        .query(&[
            Parameter {
                kind: ParameterKind::Number(MAX_TIMEOUT_S),
                ..Parameter::text(
                    "timeout",
                    "For how many seconds to wait for the answer; 30 by default",
                )
            },
            Parameter::flag(
                "literal",
                "Whether JSON is taken as it is, so that `{\"$ref\": 1}` is a map with the key `$ref`; false by \
                 default, when such an object is an escape or refused",
            ),
        ])
        .body(Accepts::Message)
        .returns::<DeviceReply>("The device has answered")
        .problems(&[
            Code::StoreUnavailable,
            Code::DeviceNotFound,
            Code::DeviceNotConnected,
            Code::DeviceCannotAnswer,
            Code::RequestRefused,
            Code::MessageTooBig,
            Code::MessageTooDeep,
            Code::DeviceBusy,
            Code::Unavailable,
            Code::OutcomeUnknown,
        ])];

/// The answer of a device.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceReply {
    /// What the device has answered, as events have messages of devices.
    #[schema(value_type = serde_json::Value)]
    reply: Reply,
}

#[derive(Debug)]
struct Reply(Term);

impl Serialize for Reply {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        JsonTerm(&self.0).serialize(serializer)
    }
}

async fn ask(caller: Caller, mut request: Request) -> Result<Response, Problem> {
    let is_literal = request.flag("literal")?.unwrap_or(false);
    let parse =
        |text: &str| text.parse().ok().filter(|seconds| (1..=MAX_TIMEOUT_S).contains(seconds));
    let timeout = request.parsed("timeout", "1 to 600, in seconds", parse)?;
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, |seconds| Duration::from_secs(seconds as u64));
    let device = request.known_device(&caller).await?;
    let question = request.message(is_literal).await?;
    request.audit_later(&caller, AuditAction::MessageSent, device.clone());
    let started = Instant::now();
    let answer = request.state.hub.request_term(&device, &question, timeout).await;
    let outcome = answer.as_ref().err().map_or("answered", outcome);
    request.state.device_requests.count(outcome, started.elapsed());
    Ok(json_response(&DeviceReply { reply: Reply(answer.map_err(problem)?) }))
}

/// The outcome in metrics.
fn outcome(error: &RequestError) -> &'static str {
    match error {
        RequestError::NotConnected | RequestError::NotHere => "not-connected",
        RequestError::Unsupported => "unsupported",
        RequestError::Busy => "busy",
        RequestError::NoReply(_) => "refused",
        RequestError::TimedOut => "timed-out",
        RequestError::OutcomeUnknown => "lost",
        _ => "not-sent",
    }
}

fn problem(error: RequestError) -> Problem {
    let text = error.to_string();
    match error {
        RequestError::NotConnected => Problem::device_not_connected(),
        RequestError::Unsupported => Problem::new(Code::DeviceCannotAnswer, text),
        RequestError::NoReply(none) if none.reason == NoReplyReason::Unhandled => {
            Problem::new(Code::DeviceCannotAnswer, "no program on the device answers requests")
        }
        RequestError::NoReply(none) if none.reason == NoReplyReason::Busy => {
            Problem::temporary(Code::DeviceBusy, text, 1)
        }
        RequestError::NoReply(_) => Problem::new(Code::RequestRefused, text),
        RequestError::Busy => Problem::temporary(Code::DeviceBusy, text, 1),
        RequestError::TimedOut | RequestError::OutcomeUnknown => {
            Problem::new(Code::OutcomeUnknown, text)
        }
        RequestError::Encode(error) => encode_problem(&error),
        RequestError::Backplane(error) => error.into(),
        RequestError::NotHere | RequestError::Value(_) | _ => {
            Problem::temporary(Code::Unavailable, text, 1)
        }
    }
}
