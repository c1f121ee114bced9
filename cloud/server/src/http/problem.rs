//! Every error that the server answers over HTTP, with its code.

use fedecks_cloud::auth::{InvalidApiToken, TooManyFailures};
use fedecks_cloud::messaging::BackplaneError;
use fedecks_store::StoreError;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use warp::Reply;
use warp::reply::Response;

use super::response::json_text;
use crate::events::TooManyStreams;

/// An error response, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

macro_rules! codes {
    ($($name:ident => $status:ident, $word:literal, $title:literal;)+) => {
        /// What went wrong. The codes are part of the API and never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $($name,)+
        }

        impl Code {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];

            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)+
                }
            }

            pub(crate) fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                }
            }
        }
    };
}

codes! {
    InvalidPath => BAD_REQUEST, "invalid-path", "Invalid path";
    InvalidQuery => BAD_REQUEST, "invalid-query", "Invalid query parameter";
    InvalidHeader => BAD_REQUEST, "invalid-header", "Invalid request header";
    InvalidJson => BAD_REQUEST, "invalid-json", "The body is not valid JSON";
    InvalidBody => UNPROCESSABLE_ENTITY, "invalid-body", "Invalid body";
    MessageTooDeep => UNPROCESSABLE_ENTITY, "message-too-deep", "The message is nested too deeply";
    IdempotencyKeyReused => UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The idempotency key belongs to another request";
    Unauthorized => UNAUTHORIZED, "unauthorized", "Missing or invalid API token";
    RoleMissing => FORBIDDEN, "role-missing", "The API token lacks a role";
    CrossSite => FORBIDDEN, "cross-site", "The request is not from the dashboard";
    LimitedToDevices => FORBIDDEN, "limited-to-devices", "The API token is limited to some devices";
    NotFound => NOT_FOUND, "not-found", "Not found";
    DeviceNotFound => NOT_FOUND, "device-not-found", "Device not found";
    MessageNotFound => NOT_FOUND, "message-not-found", "Message not found";
    AccountNotFound => NOT_FOUND, "account-not-found", "Account not found";
    ClaimNotFound => NOT_FOUND, "claim-not-found", "Claim not found";
    ApprovalNotFound => NOT_FOUND, "approval-not-found", "No such device waits for an approval";
    ConsumerNotFound => NOT_FOUND, "consumer-not-found", "Consumer not found";
    MethodNotAllowed => METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed";
    DeviceNotConnected => CONFLICT, "device-not-connected", "The device is not connected";
    DeviceCannotAnswer => CONFLICT, "device-cannot-answer", "The device answers no requests";
    RequestRefused => CONFLICT, "request-refused", "The device has refused to answer";
    DeviceIsBlocked => CONFLICT, "device-blocked", "The device is blocked";
    QueueFull => CONFLICT, "queue-full", "Too much waits for the device";
    AlreadySent => CONFLICT, "already-sent", "The message was sent already";
    AlreadySettled => CONFLICT, "already-settled", "The message has its final state already";
    ConsumerOfOtherDevices => CONFLICT, "consumer-of-other-devices", "The consumer reads the messages of other devices";
    TooManyConsumers => CONFLICT, "too-many-consumers", "Too many consumers";
    TooManyClaims => CONFLICT, "too-many-claims", "Too many claims";
    BeyondLog => CONFLICT, "beyond-log", "The log has not come that far";
    AccountExists => CONFLICT, "account-exists", "The account already exists";
    BodyTooBig => PAYLOAD_TOO_LARGE, "body-too-big", "The body is too large";
    MessageTooBig => PAYLOAD_TOO_LARGE, "message-too-big", "The message is too large";
    UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported content type";
    TooManyFailures => TOO_MANY_REQUESTS, "too-many-failures", "Too many wrong API tokens";
    TooManyStreamsOfToken => TOO_MANY_REQUESTS, "too-many-streams-of-token", "Too many open event streams of the API token";
    TooMuchAtOnce => TOO_MANY_REQUESTS, "too-much-at-once", "Too many bytes of requests at once";
    Overloaded => SERVICE_UNAVAILABLE, "overloaded", "Too many bytes of requests at once, of all clients";
    TooManyStreams => SERVICE_UNAVAILABLE, "too-many-streams", "Too many open event streams";
    DeviceQueueFull => SERVICE_UNAVAILABLE, "device-queue-full", "The device reads too slowly";
    DeviceBusy => SERVICE_UNAVAILABLE, "device-busy", "Too many requests to the device";
    StoreUnavailable => SERVICE_UNAVAILABLE, "store-unavailable", "The store is unavailable";
    ClockBehind => SERVICE_UNAVAILABLE, "clock-behind", "The server's clock is behind";
    Unavailable => SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable";
    StoreFull => INSUFFICIENT_STORAGE, "store-full", "Too much waits for all devices together";
    OutcomeUnknown => GATEWAY_TIMEOUT, "outcome-unknown", "Whether the device has acted is unknown";
}

/// The body of every error response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails {
    /// `about:blank`; see `code`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The error, for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The error, for programs. Never changes; there may be more in the future.
    #[schema(example = "device-not-found")]
    code: &'static str,
    /// What was found, and what was expected.
    detail: String,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), header: None }
    }

    /// Adds to what is said.
    pub(crate) fn and(mut self, advice: &str) -> Self {
        self.detail.push_str("; ");
        self.detail.push_str(advice);
        self
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        let challenge = (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fedecks\""));
        Self { header: Some(challenge), ..Self::new(Code::Unauthorized, detail) }
    }

    /// The same whether the device does not exist or the caller may not see it.
    pub(crate) fn device_not_found() -> Self {
        let detail = "no device with this id, or your token has no access to it";
        Self::new(Code::DeviceNotFound, detail)
    }

    pub(crate) fn device_not_connected() -> Self {
        Self::new(Code::DeviceNotConnected, "expected a connected device")
    }

    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        let header = HeaderValue::from_str(allowed).ok().map(|allowed| (ALLOW, allowed));
        Self { header, ..Self::new(Code::MethodNotAllowed, format!("expected {allowed}")) }
    }

    /// The rest of the body did not come, or not in time.
    pub(crate) fn incomplete_body() -> Self {
        Self::new(Code::InvalidBody, "the body is incomplete or came too slowly")
    }

    /// An error that may go away by itself.
    pub(crate) fn temporary(code: Code, detail: impl Into<String>, retry_after_s: u64) -> Self {
        let header = Some((RETRY_AFTER, HeaderValue::from(retry_after_s)));
        Self { header, ..Self::new(code, detail) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // The details are for the log only.
        tracing::warn!(%error, "API request failed: store");
        Self::temporary(Code::StoreUnavailable, "the store failed, try again later", 5)
    }
}

impl From<BackplaneError> for Problem {
    fn from(error: BackplaneError) -> Self {
        tracing::warn!(%error, "API request failed: backplane");
        Self::temporary(Code::Unavailable, "cannot reach the other nodes, try again later", 5)
    }
}

impl From<InvalidApiToken> for Problem {
    fn from(error: InvalidApiToken) -> Self {
        match error {
            InvalidApiToken::ClockBehind => {
                Self::temporary(Code::ClockBehind, error.to_string(), 10)
            }
            InvalidApiToken::Unknown | InvalidApiToken::Expired | _ => {
                Self::unauthorized(&error.to_string())
            }
        }
    }
}

impl From<TooManyFailures> for Problem {
    fn from(error: TooManyFailures) -> Self {
        let wait = error.retry_after.as_secs();
        let detail = format!("too many wrong API tokens, try again in {wait} s");
        Self::temporary(Code::TooManyFailures, detail, wait)
    }
}

impl From<TooManyStreams> for Problem {
    fn from(error: TooManyStreams) -> Self {
        let code = match error {
            TooManyStreams::InAll(_) => Code::TooManyStreams,
            TooManyStreams::OfToken(_) => Code::TooManyStreamsOfToken,
        };
        Self::temporary(code, error.to_string(), 5)
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        let Self { code, detail, header } = self;
        let status = code.status();
        let details = ProblemDetails {
            kind: "about:blank",
            title: code.title(),
            status: status.as_u16(),
            code: code.as_str(),
            detail,
        };
        let mut response = json_text(&details).into_response();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(header);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_unique_and_an_error() {
        let codes: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
    }

    #[test]
    fn a_temporary_problem_has_its_status_type_and_retry_after() {
        let response = Problem::temporary(Code::DeviceQueueFull, "wait", 3).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
