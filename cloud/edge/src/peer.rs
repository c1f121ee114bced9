//! The other end of a connection, as the filter sees it.

use std::net::SocketAddr;

/// The other end of a connection, among the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}
