//! Successful responses that many handlers give: JSON, or only a status. Errors are in `problem.rs`.

use fedecks_common::text;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use warp::Reply;
use warp::reply::Response;

/// Serializes a value of this crate. All of them have a JSON form.
pub(super) fn json_text<T: Serialize>(value: &T) -> String {
    text::escape_json(serde_json::to_string(value).unwrap_or_default())
}

pub(super) fn json_response<T: Serialize>(value: &T) -> Response {
    let mut response = json_text(value).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

pub(super) fn no_content() -> Response {
    empty(StatusCode::NO_CONTENT)
}

pub(super) fn empty(status: StatusCode) -> Response {
    warp::reply::with_status(warp::reply(), status).into_response()
}
