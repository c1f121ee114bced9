//! Why a request was not done: every error of HTTP, with its code.

use std::fmt::Display;

use fedecks_cloud::auth::TooManyFailures;
use fedecks_cloud::messaging::BackplaneError;
use fedecks_store::{Role, StoreError};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use warp::Reply;
use warp::reply::Response;

use super::response::json_text;

/// Why a request was not done, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

macro_rules! codes {
    ($($name:ident => $status:ident, $word:literal, $title:literal;)+) => {
        /// What went wrong. The words are part of the API and never change.
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
    InvalidPath => BAD_REQUEST, "invalid-path", "The path is wrong";
    InvalidQuery => BAD_REQUEST, "invalid-query", "A query parameter is wrong";
    InvalidJson => BAD_REQUEST, "invalid-json", "The body is no JSON";
    InvalidBody => UNPROCESSABLE_ENTITY, "invalid-body", "The body is not what was expected";
    MessageTooDeep => UNPROCESSABLE_ENTITY, "message-too-deep", "The message is nested too deeply";
    Unauthorized => UNAUTHORIZED, "unauthorized", "An API token is needed";
    RoleMissing => FORBIDDEN, "role-missing", "The API token does not allow this";
    CrossSite => FORBIDDEN, "cross-site", "The request does not come from the dashboard";
    LimitedToDevices => FORBIDDEN, "limited-to-devices", "The API token is limited to some devices";
    NotFound => NOT_FOUND, "not-found", "There is no such thing here";
    DeviceNotFound => NOT_FOUND, "device-not-found", "There is no such device";
    AccountNotFound => NOT_FOUND, "account-not-found", "There is no such account";
    MethodNotAllowed => METHOD_NOT_ALLOWED, "method-not-allowed", "This cannot be done with that";
    DeviceNotConnected => CONFLICT, "device-not-connected", "The device is not connected";
    DeviceIsBlocked => CONFLICT, "device-blocked", "The device is blocked";
    AccountExists => CONFLICT, "account-exists", "There is an account of that name";
    BodyTooBig => PAYLOAD_TOO_LARGE, "body-too-big", "The body is too big";
    MessageTooBig => PAYLOAD_TOO_LARGE, "message-too-big", "The message is too big";
    UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is of another kind";
    TooManyFailures => TOO_MANY_REQUESTS, "too-many-failures", "Too many wrong API tokens";
    TooManyStreams => SERVICE_UNAVAILABLE, "too-many-streams", "Too many event streams are open";
    DeviceQueueFull => SERVICE_UNAVAILABLE, "device-queue-full", "The device reads too slowly";
    StoreUnavailable => SERVICE_UNAVAILABLE, "store-unavailable", "The store does not answer";
    Unavailable => SERVICE_UNAVAILABLE, "unavailable", "This cannot be done now";
}

/// The body of every answer that is no success.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// `about:blank`: what there is to know stands in `code`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What went wrong, for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong, for programs. It does not change.
    code: &'static str,
    /// What was found and what was expected.
    detail: String,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), header: None }
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        let challenge = (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fedecks\""));
        Self { header: Some(challenge), ..Self::new(Code::Unauthorized, detail) }
    }

    pub(crate) fn role_missing(role: Role) -> Self {
        Self::new(Code::RoleMissing, format!("expected a token with the role {}", role.as_str()))
    }

    /// The same whether the device does not exist or may not be seen.
    pub(crate) fn device_not_found() -> Self {
        Self::new(Code::DeviceNotFound, "no device of this id, or none that this token may see")
    }

    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        let header = HeaderValue::from_str(allowed).ok().map(|allowed| (ALLOW, allowed));
        Self { header, ..Self::new(Code::MethodNotAllowed, format!("expected {allowed}")) }
    }

    /// One that may go away by itself.
    pub(crate) fn for_now(code: Code, detail: impl Into<String>, retry_after_s: u64) -> Self {
        let header = Some((RETRY_AFTER, HeaderValue::from(retry_after_s)));
        Self { header, ..Self::new(code, detail) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // What exactly is wrong with the disk is for the log.
        tracing::warn!(%error, "the store did not do what the API asked for");
        Self::for_now(Code::StoreUnavailable, "the store does not answer, try again later", 5)
    }
}

impl From<BackplaneError> for Problem {
    fn from(error: BackplaneError) -> Self {
        tracing::warn!(%error, "the backplane did not do what the API asked for");
        Self::for_now(Code::Unavailable, "the other nodes cannot be reached", 5)
    }
}

impl From<TooManyFailures> for Problem {
    fn from(error: TooManyFailures) -> Self {
        Self::for_now(Code::TooManyFailures, error.to_string(), error.retry_after.as_secs())
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

/// What was found where something else was expected.
pub(crate) fn found(what: impl Display, error: impl Display) -> String {
    format!("{what}: {error}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_of_its_own_and_an_error() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
    }

    #[test]
    fn a_problem_says_status_code_and_detail_and_when_to_try_again() {
        let response = Problem::for_now(Code::DeviceQueueFull, "wait", 3).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
