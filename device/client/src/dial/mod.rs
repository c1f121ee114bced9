//! One attempt to reach the cloud: from its name to an upgraded WebSocket.

mod happy_eyeballs;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fedecks_device_core as core;
use fedecks_device_core::Phase;
use fedecks_protocol::{AUTH_HEADER, Dialect, Limits, REFUSAL_HEADER, Refusal};
use tokio::net::lookup_host;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{HOST, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite};

use crate::tls::{Tls, TlsError, TlsOptions, TrustedTime, VerifiedPeer};
use crate::traffic::Meter;
use crate::transport::{Counted, Transport};
use crate::url::CloudUrl;

/// Size of each buffer, in bytes; tungstenite would take 128 KiB.
const BUFFER: usize = 4 * 1024;

/// Room for what surrounds a message in the write buffer: its own head, a ping, a close.
const OVERHEAD: usize = 16 * 1024;

/// Which cloud, and how to talk to it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    url: CloudUrl,
    /// There if the URL asks for it.
    tls: Option<Tls>,
    dialect: Dialect,
    max_message: usize,
    meter: Meter,
}

/// A WebSocket with nothing sent or read yet.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) socket: WebSocketStream<Transport>,
    /// Who it is, if that was verified: with TLS only.
    pub(crate) peer: Option<VerifiedPeer>,
}

/// Why an attempt gave no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The cloud refused the upgrade in the protocol's own form.
    #[error("the cloud refused: {refusal}")]
    Refused {
        refusal: Refusal,
        /// The delay that it asked for.
        retry_after: Option<Duration>,
    },
    /// Somebody answered in any other form: a captive portal, a proxy, another server.
    #[error("the answer has the HTTP status {status}, which is not Fedecks's")]
    Http { status: u16 },
    /// The name has no address, or nobody can be asked.
    #[error("cannot resolve {host}: {error}")]
    Resolve { host: String, error: io::Error },
    /// None of the addresses can be reached.
    #[error("cannot connect to {host}: {failures}")]
    Tcp { host: String, failures: happy_eyeballs::Failures },
    /// The other end could not prove who it is, or does not speak TLS.
    #[error("no TLS with {host}: {problem}")]
    Tls { host: String, problem: String },
    /// What came back is not an answer to an upgrade.
    #[error("the upgrade failed: {0}")]
    Upgrade(String),
}

impl Target {
    /// The cloud at `url`. Reads the files that `options` names, if the URL asks for TLS.
    pub(crate) fn new(
        url: CloudUrl,
        options: &TlsOptions,
        time: TrustedTime,
        dialect: Dialect,
        limits: &Limits,
    ) -> Result<Self, TlsError> {
        let tls = if url.is_secure() { Some(Tls::new(options, time)?) } else { None };
        let max_message = limits.max_size.min(Limits::MAX_SIZE);
        Ok(Self { url, tls, dialect, max_message, meter: Meter::default() })
    }

    /// What counts the bytes of all connections made with it.
    pub(crate) fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

/// Makes one attempt, with `auth_header` as the value of `x-fedecks-auth`. Each phase is told to
/// `on_phase` as it begins. There is no deadline: drop the future to give up, and the connection
/// is closed.
pub(crate) async fn dial(
    target: &Target,
    auth_header: String,
    mut on_phase: impl FnMut(Phase),
) -> Result<Upgraded, DialError> {
    let request = request(target, auth_header)?;
    let host = target.url.host();

    on_phase(Phase::Resolve);
    let addresses = resolve(&target.url).await?;

    on_phase(Phase::Tcp);
    let tcp = happy_eyeballs::connect(addresses)
        .await
        .map_err(|failures| DialError::Tcp { host: host.to_str().into_owned(), failures })?;
    let tcp = Counted::new(tcp, target.meter.clone());

    let (transport, peer) = match &target.tls {
        None => (Transport::Plain(tcp), None),
        Some(tls) => {
            on_phase(Phase::Tls);
            let (stream, peer) = tls
                .connect(host, tcp)
                .await
                .map_err(|problem| DialError::Tls { host: host.to_str().into_owned(), problem })?;
            (Transport::Tls(Box::new(stream)), Some(peer))
        }
    };

    on_phase(Phase::Upgrade);
    let config = websocket_config(target.max_message);
    let (socket, _) = client_async_with_config(request, transport, Some(config))
        .await
        .map_err(DialError::from_upgrade)?;
    Ok(Upgraded { socket, peer })
}

impl DialError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what has words of its own keeps them")]
    fn from_upgrade(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::from_response(&response),
            tungstenite::Error::Io(error) => Self::Upgrade(error.to_string()),
            tungstenite::Error::AttackAttempt => {
                Self::Upgrade("the head of the answer is too long or comes in crumbs".into())
            }
            tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete) => {
                Self::Upgrade("the connection ended before the answer".into())
            }
            other => Self::Upgrade(other.to_string()),
        }
    }

    fn from_response(response: &Response) -> Self {
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        match Refusal::from_response(status, header(REFUSAL_HEADER)) {
            Some(refusal) => {
                // The other form, a date, is for those whose clock is right.
                let retry_after = header(RETRY_AFTER.as_str())
                    .and_then(|seconds| seconds.trim().parse().ok())
                    .map(Duration::from_secs);
                Self::Refused { refusal, retry_after }
            }
            None => Self::Http { status },
        }
    }
}

impl From<DialError> for core::DialError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused { refusal, retry_after } => Self::Refused { refusal, retry_after },
            DialError::Http { .. }
            | DialError::Resolve { .. }
            | DialError::Tcp { .. }
            | DialError::Tls { .. }
            | DialError::Upgrade(_) => Self::Unreachable(error.to_string()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

fn request(target: &Target, auth_header: String) -> Result<Request, DialError> {
    let invalid = |what: &str| DialError::Upgrade(format!("{what} cannot stand in a request"));
    let (uri, host) = target.url.uri_and_host();
    let mut request = uri.into_client_request().map_err(|_| invalid("the URL"))?;
    let host = HeaderValue::try_from(host).map_err(|_| invalid("the host"))?;
    let mut auth = HeaderValue::try_from(auth_header).map_err(|_| invalid("the header"))?;
    auth.set_sensitive(true);
    let dialect = HeaderValue::from_static(target.dialect.subprotocol());
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(AUTH_HEADER, auth);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, dialect);
    Ok(request)
}

/// Asks anew each time: what was right on one network may be wrong on the next.
async fn resolve(url: &CloudUrl) -> Result<Vec<SocketAddr>, DialError> {
    let host = url.host().to_str();
    let failed = |error| DialError::Resolve { host: host.clone().into_owned(), error };
    let addresses: Vec<_> =
        lookup_host((host.as_ref(), url.port())).await.map_err(failed)?.collect();
    if addresses.is_empty() {
        let nothing = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        return Err(failed(nothing));
    }
    Ok(addresses)
}

fn websocket_config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(max_message + OVERHEAD)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

#[cfg(test)]
mod tests;
