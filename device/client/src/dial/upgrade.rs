//! The upgrade to a WebSocket. Its response may come from a captive portal, a proxy or another server instead of the
//! cloud. The check is ours: tungstenite's takes no lists in `Connection`, which proxies send.

use std::io;

use fedecks_protocol::{AUTH_HEADER, Dialect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key, generate_request};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{
    HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::answer::{Expected, Head, MAX_HEAD};
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

/// Sends the request, with a new key, and reads the response. There is no deadline.
pub(super) async fn upgrade(
    mut request: Request,
    mut transport: Transport,
    dialect: Dialect,
    max_message: usize,
) -> Result<WebSocketStream<Transport>, DialError> {
    let failed = |problem: &dyn std::fmt::Display| DialError::Upgrade(problem.to_string());
    let key = generate_key();
    let accept = derive_accept_key(key.as_bytes());
    let key = HeaderValue::try_from(key).map_err(|error| failed(&error))?;
    request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
    let (request, _) = generate_request(request).map_err(|error| failed(&error))?;
    let late = |error: io::Error| DialError::Upgrade(explain_late(&error));
    transport.write_all(&request).await.map_err(late)?;
    transport.flush().await.map_err(late)?;

    let rest = read_head(&mut transport, &Expected { accept: &accept, dialect }).await?;
    let config = Some(websocket_config(max_message));
    Ok(WebSocketStream::from_partially_read(transport, rest, Role::Client, config).await)
}

/// Reads to the end of a head that is an upgrade, and returns what was read of the WebSocket.
async fn read_head(
    transport: &mut Transport,
    expected: &Expected<'_>,
) -> Result<Vec<u8>, DialError> {
    let failed = |problem: &str| Err(DialError::Upgrade(problem.to_owned()));
    let mut chunk = vec![0; BUFFER];
    let (mut bytes, mut begin, mut searched) = (Vec::new(), 0, 0);
    loop {
        match transport.read(&mut chunk).await {
            Ok(0) => {
                return failed("the connection was closed before the response was complete");
            }
            Ok(size) => bytes.extend_from_slice(&chunk[..size]),
            Err(error) => return failed(&explain_late(&error)),
        }
        if bytes.len() > MAX_HEAD {
            return failed("the response head is longer than 64 KiB");
        }
        loop {
            match Head::read(&bytes[begin..], searched - begin, expected)? {
                Head::Incomplete => break,
                Head::Interim(size) => {
                    begin += size;
                    searched = begin;
                }
                Head::Upgraded(size) => {
                    bytes.drain(..begin + size);
                    return Ok(bytes);
                }
            }
        }
        searched = bytes.len();
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
