//! The other end of a connection, as the filter sees it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::client_certificate::ClientCertificate;

/// The other end of a connection, among the extensions of every request. An accept loop of your own inserts it too:
///
/// ```
/// use fedecks_cloud::serve::Peer;
///
/// let peer = Peer::new(([203, 0, 113, 7], 4711).into()).with(|it| it.encrypted = true);
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(peer);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The client's address: the one that a trusted proxy names by `X-Forwarded-For` or the PROXY
    /// protocol, with port 0 if it names no port, or else the address that the connection comes from.
    pub address: SocketAddr,
    /// The proxy that the connection comes from, if it named its client.
    pub via: Option<SocketAddr>,
    /// Whether the client's connection is encrypted: by TLS here, or by TLS at a trusted proxy, which
    /// says so in `X-Forwarded-Proto`.
    pub encrypted: bool,
    /// Index of the listener in `ServeOptions::listen`.
    pub listener: usize,
    /// Number of the connection, the field `connection` in the log, counted from 1.
    pub connection: u64,
    /// The certificate that the client has presented here, by TLS. TLS has verified it when the session began, which
    /// may be long ago: ask [`ClientCertificate::check`].
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Peer {
    /// A client without a proxy in between, not encrypted, at the first listener, whose connection has no number.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, via: None, encrypted: false, listener: 0, connection: 0, certificate: None }
    }

    /// This peer after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}
