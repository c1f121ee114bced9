//! The stream of events.

use fedecks_store::DevicePattern;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use warp::Reply;
use warp::reply::Response;

use super::request::Request;
use crate::event_kind::EventKind;
use crate::events::{Filter, Subscribe};
use crate::http::problem::{Code, Problem};

pub(super) async fn stream(request: Request) -> Result<Response, Problem> {
    let scope = request.caller.token().devices.clone();
    let wanted = request.parsed("device", "a device id, with * for any characters", |text| {
        text.parse::<DevicePattern>().ok()
    })?;
    let mut kinds = Vec::new();
    for word in request.query_all("kind") {
        let kind = EventKind::from_word(word).ok_or_else(|| {
            let known: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
            let detail = format!("kind is {word:?}, expected one of {}", known.join(", "));
            Problem::new(Code::InvalidQuery, detail)
        })?;
        kinds.push(kind);
    }
    // A browser that connects anew asks by the same URL, and says in the header what it has got since.
    let after = request.last_event_id.clone().or(request.query("after").map(str::to_owned));
    let filter = Filter { devices: scope.into_iter().chain(wanted).collect(), kinds };
    let allowed = request.caller.still_allowed(&request.state);
    let stream = request.state.streams.open(Subscribe { filter, after, allowed });
    let stream = stream.ok_or_else(|| {
        let most = request.state.config.events.streams;
        Problem::for_now(Code::TooManyStreams, format!("{most} are open, which is the most"), 5)
    })?;
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy would keep the events until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
