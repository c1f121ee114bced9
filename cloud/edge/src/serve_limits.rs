//! The limits of a server.

use std::time::Duration;

/// Limits that are enforced before a request reaches the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeLimits {
    /// Maximum number of open connections, from accept until the socket is closed, upgraded ones
    /// included. Any more are closed immediately, before anything is spent on them, without TLS some of them
    /// with a response 503; a device takes that for an unreachable cloud and comes back later. Idle HTTP
    /// connections are closed before it comes to that.
    pub connections: u32,
    /// Maximum number of open connections from one IPv4 address or one IPv6 /64 network. Any more are
    /// closed immediately, too. Where a trusted proxy names its client, that client is counted. A client
    /// named by `X-Forwarded-For` is only known when the request is there, so its surplus requests are
    /// answered with 429. A fleet behind one NAT is one address. The trusted proxies themselves are not
    /// counted.
    pub connections_per_address: u32,
    /// How many connections are accepted per second. More wait in the kernel's queue, so that a fleet
    /// that reconnects all at once is served at a pace that the machine can keep up with.
    pub accepts_per_second: u32,
    /// How many connections may be accepted at once after a quiet time.
    pub accept_burst: u32,
    /// Timeout of the TLS handshake, and of each request's head. That of the first request is measured from
    /// the end of the handshake, that of others from its first byte. A client that takes longer is
    /// disconnected.
    pub handshake: Duration,
    /// How long a connection may be idle between requests, longer than proxies keep theirs. An eighth of
    /// `connections`, and of `connections_per_address`, may be idle, except for those of trusted proxies; the
    /// one that was idle for longest is closed first, when others need its place.
    pub http_idle: Duration,
    /// Timeout of a request's body, measured from the end of its head.
    pub request_body: Duration,
    /// How long a client may leave everything that is sent to it unacknowledged. The kernel then ends
    /// the connection, after up to twice that time.
    pub stalled: Duration,
    /// Maximum size of a request head, in bytes, at least 8,192; a longer one is answered with 431.
    pub request_head: usize,
}

impl Default for ServeLimits {
    /// 100,000 connections, 50,000 of them from one address; 2,000 accepted per second after a burst of
    /// 4,000; 10 s for a handshake, 150 s between requests, 30 s for a request's body, 60 s for a stalled client;
    /// 16 KiB for a request's head.
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 50_000,
            accepts_per_second: 2_000,
            accept_burst: 4_000,
            handshake: Duration::from_secs(10),
            http_idle: Duration::from_secs(150),
            request_body: Duration::from_secs(30),
            stalled: Duration::from_secs(60),
            request_head: 16 * 1024,
        }
    }
}

impl ServeLimits {
    /// These limits after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}
