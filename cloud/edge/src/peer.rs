//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// Who is at the other end, among the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The client's address. Where the connection comes from a trusted proxy that names its client by
    /// `X-Forwarded-For` or the PROXY protocol, it is that client's; port 0 if the port is not said.
    pub address: SocketAddr,
    /// The proxy that the connection comes from, if it named its client.
    pub via: Option<SocketAddr>,
    /// Whether the client's connection is encrypted: by TLS here, or as a trusted proxy says by
    /// `X-Forwarded-Proto`.
    pub encrypted: bool,
    /// Which of `ServeOptions::listen` it came in by, counted from 0.
    pub listener: usize,
    /// Number of the connection, the `connection` of the log, counted from 1.
    pub connection: u64,
}
