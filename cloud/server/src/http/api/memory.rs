//! The memory that requests and responses take, as the limits of `request_memory` count it.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use warp::reply::Response;

use crate::http::problem::{Code, Problem};
use crate::request_memory::{Held, NoMemory};

/// A response that is at most this large, in bytes, is not counted: a connection takes more.
const SMALL: u64 = 4096;

/// When a client that was refused may try again, in seconds.
const RETRY: u64 = 2;

/// Bytes that count until the last copy of them is dropped.
struct HeldBytes {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The response with a body that counts until it is sent. A stream has no body yet, and is returned as it is.
pub(super) async fn counted(response: Response, mut held: Held) -> Result<Response, Problem> {
    let Some(length) = response.body().size_hint().exact().filter(|length| *length > SMALL) else {
        return Ok(response);
    };
    held.take(usize::try_from(length).unwrap_or(usize::MAX)).map_err(|no| problem(no, &held))?;
    let (head, body) = response.into_parts();
    // It is in memory already, so this neither waits nor fails.
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let bytes = Bytes::from_owner(HeldBytes { bytes, _held: held });
    Ok(Response::from_parts(head, bytes.into()))
}

/// The answer to a request that would exceed a limit.
pub(super) fn problem(no_memory: NoMemory, held: &Held) -> Problem {
    let limits = held.limits();
    let (code, whose, key, limit) = match no_memory {
        NoMemory::Sum => (Code::Overloaded, "all clients", "request_bytes", limits.sum),
        NoMemory::Token => {
            (Code::TooMuchAtOnce, "this API token", "request_bytes_per_token", limits.per_token)
        }
        NoMemory::Address => {
            (Code::TooMuchAtOnce, "this address", "request_bytes_per_address", limits.per_address)
        }
    };
    let detail = format!(
        "the requests and responses of {whose} that are in progress take the {limit} bytes that \
         limits.{key} allows, expected fewer or smaller ones at a time"
    );
    Problem::temporary(code, detail, RETRY)
}

#[cfg(test)]
mod tests {
    use warp::Reply;

    use super::*;
    use crate::request_memory::{RequestMemory, RequestMemoryLimits};

    #[tokio::test]
    async fn a_response_counts_until_its_last_copy_is_dropped() {
        let limits = RequestMemoryLimits { sum: 20_000, per_token: 12_000, per_address: 20_000 };
        let memory = RequestMemory::new(limits);
        let held = |token| memory.request(token, [192, 0, 2, 1].into(), true);
        let response = |size| "x".repeat(size).into_response();
        let first = counted(response(10_000), held("a")).await.unwrap();
        assert_eq!(memory.used(), 10_000);
        assert!(counted(response(4096), held("a")).await.is_ok(), "a small one does not count");
        let refused = counted(response(4097), held("a")).await.unwrap_err();
        assert_eq!(refused.code, Code::TooMuchAtOnce);
        let refused = counted(response(8_000), held("b")).await.unwrap_err();
        assert_eq!(refused.code, Code::Overloaded);
        let bytes = first.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((bytes.len(), memory.used()), (10_000, 10_000));
        drop(bytes);
        assert_eq!(memory.used(), 0);
    }
}
