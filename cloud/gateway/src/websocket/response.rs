//! The text responses at the path of the device socket.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

pub(super) type TextResponse = Response<String>;

pub(super) fn text(status: StatusCode, text: String) -> TextResponse {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
