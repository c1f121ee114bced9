//! One connection attempt: from the cloud's host name to an upgraded WebSocket.

mod error;
mod happy_eyeballs;
mod upgrade;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use fedecks_device_core::Phase;
use fedecks_protocol::{Dialect, Limits};
use tokio::net::lookup_host;
use tokio_tungstenite::WebSocketStream;

pub(crate) use self::error::DialError;
use crate::tls::{Tls, TlsError, TlsOptions, TrustedTime, VerifiedPeer};
use crate::traffic::TrafficCounters;
use crate::transport::{MeteredStream, Transport};
use crate::url::CloudUrl;

/// The cloud to connect to, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    url: CloudUrl,
    /// `Some` for `wss://`.
    tls: Option<Tls>,
    dialect: Dialect,
    max_message: usize,
    traffic: TrafficCounters,
}

/// A WebSocket on which nothing has been sent or received yet.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) socket: WebSocketStream<Transport>,
    /// The verified peer; only with TLS.
    pub(crate) peer: Option<VerifiedPeer>,
}

impl Target {
    /// The cloud at `url`. With `wss://`, reads the files that `options` names.
    pub(crate) fn new(
        url: CloudUrl,
        options: &TlsOptions,
        time: TrustedTime,
        dialect: Dialect,
        limits: &Limits,
    ) -> Result<Self, TlsError> {
        let tls = if url.is_secure() { Some(Tls::new(options, time)?) } else { None };
        let max_message = limits.max_size.min(Limits::MAX_SIZE);
        Ok(Self { url, tls, dialect, max_message, traffic: TrafficCounters::default() })
    }

    /// The counters of all connections to this target.
    pub(crate) fn traffic(&self) -> TrafficCounters {
        self.traffic.clone()
    }
}

/// Makes one attempt, with `auth_header` as the value of `x-fedecks-auth`. Calls `on_phase` at the
/// beginning of each phase. There is no deadline: dropping the future aborts the attempt and closes the
/// connection.
pub(crate) async fn dial(
    target: &Target,
    auth_header: String,
    mut on_phase: impl FnMut(Phase),
) -> Result<Upgraded, DialError> {
    let request = upgrade::request(&target.url, target.dialect, auth_header)?;
    let host = target.url.host();

    on_phase(Phase::Resolve);
    let addresses = resolve(&target.url).await?;

    on_phase(Phase::Tcp);
    let tcp = happy_eyeballs::connect(addresses)
        .await
        .map_err(|failures| DialError::Tcp { host: host.to_str().into_owned(), failures })?;
    let tcp = MeteredStream::new(tcp, target.traffic.clone());

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
    let socket = upgrade::upgrade(request, transport, target.max_message).await?;
    Ok(Upgraded { socket, peer })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// Resolves the host for each attempt: the addresses may differ on another network.
async fn resolve(url: &CloudUrl) -> Result<Vec<SocketAddr>, DialError> {
    let host = url.host().to_str();
    let failed = |error| DialError::Resolve { host: host.clone().into_owned(), error };
    let addresses: Vec<_> =
        lookup_host((host.as_ref(), url.port())).await.map_err(failed)?.collect();
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no address found")));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
