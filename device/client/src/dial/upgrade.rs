//! The upgrade to a WebSocket, and the interpretation of its response, which may come from a captive
//! portal, a proxy or another server instead of the cloud.

use std::time::Duration;

use fedecks_protocol::{AUTH_HEADER, Dialect, REFUSAL_HEADER, Refusal};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{HOST, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite};

use super::error::DialError;
use crate::tls::explain_late;
use crate::transport::Transport;
use crate::url::CloudUrl;

/// Size of each buffer, in bytes; tungstenite's default is 128 KiB.
const BUFFER: usize = 4 * 1024;

/// Room in the write buffer besides a message: for its frame header, a ping, a close.
const OVERHEAD: usize = 16 * 1024;

pub(super) fn request(
    url: &CloudUrl,
    dialect: Dialect,
    auth_header: String,
) -> Result<Request, DialError> {
    let invalid = |what: &str| DialError::Upgrade(format!("{what} is not valid in a request"));
    let (uri, host) = url.uri_and_host();
    let mut request = uri.into_client_request().map_err(|_| invalid("the URL"))?;
    let host = HeaderValue::try_from(host).map_err(|_| invalid("the host"))?;
    let mut auth =
        HeaderValue::try_from(auth_header).map_err(|_| invalid("the authentication header"))?;
    auth.set_sensitive(true);
    let dialect = HeaderValue::from_static(dialect.subprotocol());
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(AUTH_HEADER, auth);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, dialect);
    Ok(request)
}

pub(super) async fn upgrade(
    request: Request,
    transport: Transport,
    max_message: usize,
) -> Result<WebSocketStream<Transport>, DialError> {
    let config = websocket_config(max_message);
    let (socket, _) = client_async_with_config(request, transport, Some(config))
        .await
        .map_err(DialError::from_upgrade)?;
    Ok(socket)
}

impl DialError {
    fn from_upgrade(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::from_response(&response),
            tungstenite::Error::Io(error) => Self::Upgrade(explain_late(&error)),
            tungstenite::Error::AttackAttempt => {
                Self::Upgrade("the response head is too long or too fragmented".into())
            }
            tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete) => {
                Self::Upgrade("the connection was closed before the response was complete".into())
            }
            other => Self::Upgrade(other.to_string()),
        }
    }

    fn from_response(response: &Response) -> Self {
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        match Refusal::from_response(status, header(REFUSAL_HEADER)) {
            Some(refusal) => {
                // The other form, a date, would need a correct clock.
                let retry_after = header(RETRY_AFTER.as_str())
                    .and_then(|seconds| seconds.trim().parse().ok())
                    .map(Duration::from_secs);
                Self::Refused { refusal, retry_after }
            }
            None => Self::Http { status },
        }
    }
}

fn websocket_config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(max_message + OVERHEAD)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}
