//! `/events`: opens an event stream. What the stream sends is made in `event_stream.rs`.

use std::time::Duration;

use fedecks_store::{DevicePattern, Role};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use warp::Reply;
use warp::reply::Response;

use super::event_stream;
use super::input::{Parameter, ParameterKind};
use super::request::Request;
use super::route::{Content, Handler, Route, handler};
use crate::event_kind::EventKind;
use crate::events::Filter;
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};

pub(super) const ROUTES: &[Route] = &[Route::new("streamEvents", Method::GET, "/events", handler!(stream))
    .role(Role::Read)
    .summary(
        "Stream what happens to the devices, as it happens. The data of each server-sent event is a \
         `StreamEvent`. An event of the kind `gap` means that some are missing before the next one",
    )
    .query(&[
        Parameter::text("device", "Only events of devices that match; * stands for any characters"),
        Parameter {
            kind: ParameterKind::EventKind,
            repeats: true,
            ..Parameter::text("kind", "Only events of this kind; may be given more than once")
        },
        Parameter::text("after", "The id of the last event seen, like the header Last-Event-ID"),
        Parameter {
            kind: ParameterKind::Number(MAX_HEARTBEAT),
            ..Parameter::text(
                "heartbeat",
                "Send an event of the kind `heartbeat` after this time without another one, in seconds, \
                 1 to 60. Otherwise a comment is sent every 15 s, which scripts in browsers do not see",
            )
        },
    ])
    .success(200, "The stream, which ends with the server or the token", Content::EventStream)
    .problems(&[Code::TooManyStreams, Code::TooManyStreamsOfToken])];

/// The longest time between heartbeats, in seconds.
const MAX_HEARTBEAT: usize = 60;

async fn stream(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.parsed("device", "a device id, with * for any characters", |text| {
        text.parse::<DevicePattern>().ok()
    })?;
    let expected = format!("one of {}", EventKind::words());
    let kinds = request.parsed_all("kind", &expected, EventKind::from_word)?;
    let seconds = |text: &str| {
        let seconds =
            text.parse().ok().filter(|seconds| (1..=MAX_HEARTBEAT as u64).contains(seconds));
        seconds.map(Duration::from_secs)
    };
    let heartbeat = request.parsed("heartbeat", "1 to 60 seconds", seconds)?;
    // A browser that reconnects uses the same URL, and sends the newer id in the header.
    let after = request.last_event_id.as_deref().or(request.query("after"));
    let devices = caller.scope().cloned().into_iter().chain(device).collect();
    let filter = Filter::new(devices, &kinds);
    let stream = request.state.streams.open(caller.name(), after, filter)?;
    let chunks = event_stream::chunks(stream, heartbeat, caller.validity(&request.state));
    let mut response = warp::reply::stream(chunks).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Otherwise nginx holds the events back until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
