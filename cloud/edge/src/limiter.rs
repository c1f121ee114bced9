//! Limits the number of open connections, in total and per client, and counts what was rejected.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustls::HandshakeKind;
use tokio::sync::Semaphore;

use crate::idle::IdleConnections;
use crate::rate_limit_key::RateLimitKey;
use crate::serve_limits::ServeLimits;
use crate::throttle::{LogThrottle, TokenBucket};

/// What a server has counted since it started, and the number of open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServeStats {
    /// Open connections, upgraded ones included.
    pub connections: usize,
    /// Open connections that wait for a further HTTP request.
    pub idle: usize,
    /// Connections that were accepted and got a permit.
    pub accepted: u64,
    /// Connections that were closed immediately because the limit was reached.
    pub full: u64,
    /// Connections and requests that were rejected because their address had reached its limit.
    pub address_full: u64,
    /// Connections that did not come from a trusted proxy, at a listener that accepts only those.
    pub untrusted: u64,
    /// Connections without a valid PROXY header, at a listener that requires one.
    pub proxy_header: u64,
    /// TLS handshakes that failed or timed out, for another reason than the next.
    pub tls: u64,
    /// TLS handshakes in which the client's certificate was refused, or a required one was missing.
    pub client_certificate: u64,
    /// Full TLS handshakes.
    pub full_handshakes: u64,
    /// TLS handshakes that resumed an earlier session.
    pub resumed_handshakes: u64,
}

impl Add for ServeStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            idle: self.idle + other.idle,
            accepted: self.accepted + other.accepted,
            full: self.full + other.full,
            address_full: self.address_full + other.address_full,
            untrusted: self.untrusted + other.untrusted,
            proxy_header: self.proxy_header + other.proxy_header,
            tls: self.tls + other.tls,
            client_certificate: self.client_certificate + other.client_certificate,
            full_handshakes: self.full_handshakes + other.full_handshakes,
            resumed_handshakes: self.resumed_handshakes + other.resumed_handshakes,
        }
    }
}

/// Limits how many connections are open and how fast they are accepted.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    permits: Semaphore,
    capacity: u32,
    per_address: u32,
    rate: TokenBucket,
    /// The number of open connections of each client.
    clients: Mutex<HashMap<RateLimitKey, u32, RandomState>>,
    idle: Arc<IdleConnections>,
    accepted: AtomicU64,
    /// Numbers the connections in the log, those of all listeners.
    numbers: Arc<AtomicU64>,
    pub(crate) rejections: Rejections,
    pub(crate) handshakes: Handshakes,
    full: LogThrottle,
    address_full: LogThrottle,
}

/// How many connections were rejected, by cause.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    full: AtomicU64,
    address_full: AtomicU64,
    pub(crate) untrusted: AtomicU64,
    pub(crate) proxy_header: AtomicU64,
    pub(crate) tls: AtomicU64,
    pub(crate) client_certificate: AtomicU64,
}

/// The TLS handshakes that succeeded.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    full: AtomicU64,
    resumed: AtomicU64,
}

impl Handshakes {
    pub(crate) fn count(&self, kind: Option<HandshakeKind>) {
        let counter = match kind {
            Some(HandshakeKind::Resumed) => &self.resumed,
            _ => &self.full,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Permission for one open connection, returned on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    settled: SettledPermit,
    of_request: Option<OfRequest>,
}

/// Permission for a connection whose client does not change any more.
#[derive(Debug)]
pub(crate) struct SettledPermit {
    limiter: Arc<ConnectionLimiter>,
    /// The client that the connection counts for.
    client: Option<RateLimitKey>,
}

/// Counts the connection for the client of its latest request, until it is dropped.
#[derive(Debug)]
struct OfRequest(ClientPermit);

/// The address has reached its limit of connections.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AddressFull;

/// Counts a connection from a trusted proxy for the client of its current or latest request.
#[derive(Debug, Clone)]
pub(crate) struct ClientPermit {
    limiter: Arc<ConnectionLimiter>,
    client: Arc<AtomicU64>,
}

/// A table of which less than a quarter is used is shrunk, unless it is smaller than this.
const SMALL_TABLE: usize = 1024;

/// One place in this many is kept free of idle connections.
const RESERVE: u32 = 16;

impl ConnectionLimiter {
    pub(crate) fn new(limits: &ServeLimits, numbers: Arc<AtomicU64>) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let capacity = limits.connections.min(most);
        Self {
            permits: Semaphore::new(capacity as usize),
            capacity,
            per_address: limits.connections_per_address,
            rate: TokenBucket::new(limits.accepts_per_second, limits.accept_burst),
            clients: Mutex::default(),
            idle: Arc::new(IdleConnections::new(capacity, limits.connections_per_address)),
            accepted: AtomicU64::new(0),
            numbers,
            rejections: Rejections::default(),
            handshakes: Handshakes::default(),
            full: LogThrottle::default(),
            address_full: LogThrottle::default(),
        }
    }

    /// Waits until the rate limit lets one more connection be accepted.
    pub(crate) async fn wait_for_rate(&self) {
        self.rate.take().await;
    }

    /// A permit and the number of the connection; `None` while every permit is taken.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<(Permit, u64)> {
        let Ok(permit) = self.permits.try_acquire() else {
            self.rejections.full.fetch_add(1, Ordering::Relaxed);
            self.idle.evict_oldest();
            if self.full.is_due() {
                tracing::warn!("connection limit reached, closing new connections");
            }
            return None;
        };
        permit.forget();
        if self.is_nearly_full() {
            self.idle.evict_oldest();
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let settled = SettledPermit { limiter: self.clone(), client: None };
        Some((Permit { settled, of_request: None }, number))
    }

    /// Whether idle connections have to give way to new ones.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.permits.available_permits() <= (self.capacity / RESERVE) as usize
    }

    pub(crate) fn idle(&self) -> &Arc<IdleConnections> {
        &self.idle
    }

    pub(crate) fn stats(&self) -> ServeStats {
        let Rejections { full, address_full, untrusted, proxy_header, tls, client_certificate } =
            &self.rejections;
        ServeStats {
            connections: self.connections(),
            idle: self.idle.len(),
            accepted: self.accepted.load(Ordering::Relaxed),
            full: full.load(Ordering::Relaxed),
            address_full: address_full.load(Ordering::Relaxed),
            untrusted: untrusted.load(Ordering::Relaxed),
            proxy_header: proxy_header.load(Ordering::Relaxed),
            tls: tls.load(Ordering::Relaxed),
            client_certificate: client_certificate.load(Ordering::Relaxed),
            full_handshakes: self.handshakes.full.load(Ordering::Relaxed),
            resumed_handshakes: self.handshakes.resumed.load(Ordering::Relaxed),
        }
    }

    /// The number of open connections.
    pub(crate) fn connections(&self) -> usize {
        (self.capacity as usize).saturating_sub(self.permits.available_permits())
    }

    /// Waits until no connection is open. After that, no connection is admitted.
    pub(crate) async fn all_closed(&self) {
        if let Ok(all) = self.permits.acquire_many(self.capacity).await {
            all.forget();
        }
    }

    fn acquire(&self, client: RateLimitKey) -> Result<(), AddressFull> {
        let mut clients = self.clients.lock();
        let connections = clients.entry(client).or_insert(0);
        if *connections < self.per_address {
            *connections += 1;
            return Ok(());
        }
        if *connections == 0 {
            clients.remove(&client);
        }
        drop(clients);
        self.rejections.address_full.fetch_add(1, Ordering::Relaxed);
        if self.address_full.is_due() {
            tracing::warn!(
                client = %client.address(),
                limit = self.per_address,
                "an address reached its connection limit, rejecting its new connections"
            );
        }
        Err(AddressFull)
    }

    fn release(&self, client: RateLimitKey) {
        let mut clients = self.clients.lock();
        if let Entry::Occupied(mut entry) = clients.entry(client) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        if clients.capacity() > SMALL_TABLE && clients.len() < clients.capacity() / 4 {
            let room = clients.len() * 2;
            clients.shrink_to(room);
        }
    }
}

impl Permit {
    /// From now on the connection counts for this address.
    pub(crate) fn count_for(&mut self, address: IpAddr) -> Result<(), AddressFull> {
        let client = RateLimitKey::of(address);
        self.settled.limiter.acquire(client)?;
        self.count(Some(client));
        Ok(())
    }

    /// From now on the connection counts for the client of each request.
    pub(crate) fn per_request(&mut self) -> ClientPermit {
        self.count(None);
        let limiter = self.settled.limiter.clone();
        let permit = ClientPermit { limiter, client: Arc::new(AtomicU64::new(0)) };
        self.of_request = Some(OfRequest(permit.clone()));
        permit
    }

    /// From now on the connection counts for the client that it counts for now.
    pub(crate) fn settle(self) -> SettledPermit {
        let Self { mut settled, of_request } = self;
        if let Some(OfRequest(permit)) = &of_request {
            settled.client = permit.take();
        }
        settled
    }

    fn count(&mut self, client: Option<RateLimitKey>) {
        self.of_request = None;
        if let Some(previous) = std::mem::replace(&mut self.settled.client, client) {
            self.settled.limiter.release(previous);
        }
    }
}

impl Drop for SettledPermit {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.limiter.release(client);
        }
        self.limiter.permits.add_permits(1);
    }
}

impl Drop for OfRequest {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            self.0.limiter.release(client);
        }
    }
}

impl ClientPermit {
    /// The client that is counted, which is not from now on.
    fn take(&self) -> Option<RateLimitKey> {
        RateLimitKey::from_number(self.client.swap(0, Ordering::Relaxed))
    }

    /// From now on the connection counts for this address. A connection has one request at a time, so
    /// this is never called concurrently.
    pub(crate) fn count_for(&self, address: IpAddr) -> Result<(), AddressFull> {
        let client = RateLimitKey::of(address);
        let previous = RateLimitKey::from_number(self.client.load(Ordering::Relaxed));
        if previous == Some(client) {
            return Ok(());
        }
        let acquired = self.limiter.acquire(client);
        let counted = if acquired.is_ok() { client.number() } else { 0 };
        self.client.store(counted, Ordering::Relaxed);
        if let Some(previous) = previous {
            self.limiter.release(previous);
        }
        acquired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(connections: u32, connections_per_address: u32) -> Arc<ConnectionLimiter> {
        let limits = ServeLimits { connections, connections_per_address, ..ServeLimits::default() };
        Arc::new(ConnectionLimiter::new(&limits, Arc::default()))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let limiter = limiter(10, 2);
        let mut permits: Vec<Permit> = (0..4).map(|_| limiter.admit().unwrap().0).collect();
        assert_eq!(permits[0].count_for(ip("192.0.2.1")), Ok(()));
        assert_eq!(permits[1].count_for(ip("::ffff:192.0.2.1")), Ok(()));
        assert_eq!(permits[2].count_for(ip("192.0.2.1")), Err(AddressFull));
        assert_eq!(permits[3].count_for(ip("192.0.2.2")), Ok(()));
        drop(permits.remove(0));
        assert_eq!(permits[1].count_for(ip("192.0.2.1")), Ok(()));
        drop(permits);
        assert!(limiter.clients.lock().is_empty());
        assert_eq!(limiter.connections(), 0);
    }

    #[test]
    fn a_proxys_connection_counts_for_the_client_of_its_request() {
        let limiter = limiter(10, 1);
        let (mut permit, mut other) = (limiter.admit().unwrap().0, limiter.admit().unwrap().0);
        let (client, other_client) = (permit.per_request(), other.per_request());
        let (one, two) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!(client.count_for(one), Ok(()));
        assert_eq!(client.count_for(one), Ok(()));
        assert_eq!(other_client.count_for(one), Err(AddressFull));
        assert_eq!(other_client.count_for(two), Ok(()));
        assert_eq!(client.count_for(two), Err(AddressFull));
        // After the rejection it counts for no client.
        assert_eq!(other_client.count_for(one), Ok(()));
        drop(other);
        drop(permit);
        assert!(limiter.clients.lock().is_empty());
    }

    #[test]
    fn the_table_releases_memory() {
        let limiter = limiter(100_000, 1);
        let mut permits = Vec::new();
        for number in 0..20_000_u32 {
            let mut permit = limiter.admit().unwrap().0;
            permit.count_for(IpAddr::V4(number.into())).unwrap();
            permits.push(permit);
        }
        assert!(limiter.clients.lock().capacity() >= 20_000);
        drop(permits);
        let capacity = limiter.clients.lock().capacity();
        assert!(capacity <= SMALL_TABLE * 2, "{capacity}");
    }
}
