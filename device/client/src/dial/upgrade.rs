//! The upgrade to a WebSocket. Its response may come from a captive portal, a proxy or another server instead of the
//! cloud. The check is ours: tungstenite's takes no lists in `Connection`, which proxies send.

use std::io;

use fedecks_protocol::{AUTH_HEADER, Dialect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
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

/// A request for the upgrade. It has no `Debug`, which would show the header.
pub(super) struct Request<'a> {
    url: &'a CloudUrl,
    dialect: Dialect,
    auth_header: String,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        url: &'a CloudUrl,
        dialect: Dialect,
        auth_header: String,
    ) -> Result<Self, DialError> {
        if auth_header.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self { url, dialect, auth_header })
        } else {
            Err(DialError::Upgrade("the authentication header is not valid in a request".into()))
        }
    }

    /// Its bytes. The names are written like this for servers to which case matters.
    fn head(&self, key: &str) -> String {
        let (host, path) = self.url.host_and_path();
        let (auth_header, dialect) = (&self.auth_header, self.dialect.subprotocol());
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{AUTH_HEADER}: {auth_header}\r\n\
             Sec-WebSocket-Protocol: {dialect}\r\n\r\n"
        )
    }
}

/// Sends the request, with a new key, and reads the response. There is no deadline.
pub(super) async fn upgrade(
    request: &Request<'_>,
    mut transport: Transport,
    max_message: usize,
) -> Result<WebSocketStream<Transport>, DialError> {
    let key = generate_key();
    let (accept, dialect) = (derive_accept_key(key.as_bytes()), request.dialect);
    let failed = |error: io::Error| DialError::Upgrade(explain_late(&error));
    transport.write_all(request.head(&key).as_bytes()).await.map_err(failed)?;
    transport.flush().await.map_err(failed)?;

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
