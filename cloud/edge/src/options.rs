//! What a server is told to do: where to listen, whom to believe, and the limits.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::tls::Tls;

/// How [`serve`](crate::serve) serves.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Where to listen, at least one address.
    pub listen: Vec<Listen>,
    /// The proxies and load balancers that are believed when they say who their client is, by
    /// `X-Forwarded-For` or the PROXY protocol. Nobody else is.
    pub trusted_proxies: Vec<IpNet>,
    /// The bounds of what clients may take.
    pub limits: ServeLimits,
}

/// One address to listen on.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Which. Port 0 takes a free one, see [`Server::addresses`](crate::Server::addresses).
    pub address: SocketAddr,
    /// TLS, or plaintext.
    pub tls: Option<Tls>,
    /// Whether every connection begins with a header of the PROXY protocol, version 2, before TLS.
    /// One without it, and one that comes from none of the trusted proxies, is closed.
    pub proxy_protocol: bool,
}

impl Listen {
    /// Without TLS and without a proxy.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, proxy_protocol: false }
    }

    /// With TLS and without a proxy.
    pub fn tls(address: SocketAddr, tls: Tls) -> Self {
        Self { address, tls: Some(tls), proxy_protocol: false }
    }
}

/// The bounds that hold before a request reaches the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// How many connections may be open at once, from accepted until the socket is closed, upgraded
    /// ones included. One more is closed at once and without an answer, before anything is spent on
    /// it; a device takes that for a cloud that cannot be reached and comes back later.
    pub connections: u32,
    /// How many of them may come from one address, or from one network of 64 bits with IPv6. One more
    /// is closed at once, too. The address is the client's own where trusted proxies say it; what one
    /// of them says by `X-Forwarded-For` is known when the request is there, and one too many is then
    /// answered with 429. A fleet behind one NAT is one address. The trusted proxies themselves are
    /// not counted.
    pub connections_per_address: u32,
    /// How many connections are accepted per second. More wait in the kernel's queue, so that a
    /// fleet that comes back all at once is served at the pace the machine can go.
    pub accepts_per_second: u32,
    /// How many connections may be accepted at once after a quiet time.
    pub accept_burst: u32,
    /// How long a client may take for the TLS handshake, and again for each request's head, from the
    /// end of the request before it. A client that takes longer is cut off.
    pub handshake: Duration,
    /// How long a request's body may take, from the end of its head.
    pub request_body: Duration,
    /// How long a client may take nothing of what is sent to it before its connection is ended, by the
    /// kernel and so to within a factor of two.
    pub stalled: Duration,
    /// The longest request head, in bytes, at least 8,192; a longer one is answered with 431.
    pub request_head: usize,
}

impl Default for ServeLimits {
    /// 100,000 connections, 50,000 of one address, 2,000 accepted per second after a burst of 4,000,
    /// 10 s for a handshake, 30 s for a request's body, 60 s for a client that takes nothing, 16 KiB
    /// for a request's head.
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 50_000,
            accepts_per_second: 2_000,
            accept_burst: 4_000,
            handshake: Duration::from_secs(10),
            request_body: Duration::from_secs(30),
            stalled: Duration::from_secs(60),
            request_head: 16 * 1024,
        }
    }
}
