//! The HTTP side of a WebSocket upgrade (RFC 6455, section 4.2).

use base64_simd::STANDARD;
#[cfg(feature = "serve")]
use fedecks_protocol::Dialect;
use http::header::{ALLOW, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::response::{TextResponse, text};
use crate::auth::headers::Headers;

/// A valid request for a WebSocket upgrade.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: String,
}

/// Why a request is not a valid WebSocket upgrade (RFC 6455, section 4.2.1). Unlike a refusal, it says
/// nothing about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("open a device socket with GET")]
    Method,
    #[error("this is a device socket: open it with a WebSocket upgrade over HTTP/1.1")]
    NotRequested,
    #[error("only version 13 of the WebSocket protocol is supported")]
    Version,
    #[error("there must be one Sec-WebSocket-Key, of 16 bytes in base64")]
    Key,
}

impl Handshake {
    /// Also returns `on_upgrade`, by which the connection can be upgraded.
    pub(super) fn check<U>(
        method: &Method,
        headers: &impl Headers,
        on_upgrade: Option<U>,
    ) -> Result<(Self, U), UpgradeError> {
        if method != Method::GET {
            return Err(UpgradeError::Method);
        }
        if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade")
        {
            return Err(UpgradeError::NotRequested);
        }
        let on_upgrade = on_upgrade.ok_or(UpgradeError::NotRequested)?;
        if single(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != b"13") {
            return Err(UpgradeError::Version);
        }
        let key = single(headers, &SEC_WEBSOCKET_KEY).ok_or(UpgradeError::Key)?;
        let length = STANDARD.decoded_length(key);
        if length.is_ok_and(|length| length == 16) && STANDARD.check(key).is_ok() {
            Ok((Self { accept: derive_accept_key(key) }, on_upgrade))
        } else {
            Err(UpgradeError::Key)
        }
    }

    /// The value of `Sec-WebSocket-Accept`.
    #[expect(
        clippy::expect_used,
        reason = "base64 contains only characters that are valid in a header"
    )]
    pub(super) fn accept(&self) -> HeaderValue {
        HeaderValue::from_str(&self.accept).expect("base64 is a header value")
    }

    /// The head of the response.
    #[cfg(feature = "serve")]
    pub(super) fn response(&self, dialect: Dialect) -> Vec<u8> {
        let parts = [
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: ",
            &self.accept,
            "\r\nsec-websocket-protocol: ",
            dialect.subprotocol(),
            "\r\n\r\n",
        ];
        parts.concat().into_bytes()
    }
}

impl UpgradeError {
    pub(super) fn into_response(self) -> TextResponse {
        let (status, header) = match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, "GET"))),
            Self::NotRequested => (StatusCode::UPGRADE_REQUIRED, None),
            Self::Version => (StatusCode::UPGRADE_REQUIRED, Some((SEC_WEBSOCKET_VERSION, "13"))),
            Self::Key => (StatusCode::BAD_REQUEST, None),
        };
        let mut response = text(status, format!("{self}\n"));
        let headers = response.headers_mut();
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// The value of a header that must not be repeated (RFC 6455, section 11.3).
fn single<'a>(headers: &'a impl Headers, name: &'a HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.all(name);
    values.next().filter(|_| values.next().is_none())
}

fn has_token(headers: &impl Headers, name: &HeaderName, token: &str) -> bool {
    let token = token.as_bytes();
    let is_it = |found: &[u8]| found.trim_ascii().eq_ignore_ascii_case(token);
    headers.all(name).any(|value| {
        // Nearly always it is the only one.
        value.eq_ignore_ascii_case(token) || value.split(|byte| *byte == b',').any(is_it)
    })
}
