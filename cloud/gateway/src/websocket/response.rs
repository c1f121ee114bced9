//! The shape of the answers at the path of the device socket.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

pub(super) type Answer = Response<String>;

pub(super) fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}
