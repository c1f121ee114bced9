//! Counts the connections that are open, in all and of each client, and turns away what is too many.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::options::ServeLimits;
use crate::rate_limit_key::RateLimitKey;
use crate::throttle::{LogThrottle, TokenBucket};

/// What a server has counted since it began, and how many connections are open now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServeStats {
    /// How many connections are open, upgraded ones included.
    pub connections: usize,
    /// Connections that were accepted and had a place.
    pub accepted: u64,
    /// Connections that were closed at once because all places were taken.
    pub full: u64,
    /// Connections and requests that were turned away because their address had as many connections as
    /// it may have.
    pub address_full: u64,
    /// Connections from elsewhere than a trusted proxy, where only those may come.
    pub untrusted: u64,
    /// Connections that did not begin with a good PROXY header, where they have to.
    pub proxy_header: u64,
    /// TLS handshakes that failed or took too long.
    pub tls: u64,
}

/// What stands before every connection: how many there may be, and how fast they come.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    permits: Semaphore,
    capacity: u32,
    per_address: u32,
    rate: TokenBucket,
    /// How many connections each address has.
    clients: Mutex<HashMap<RateLimitKey, u32>>,
    /// Numbers the connections in the logs.
    accepted: AtomicU64,
    pub(crate) rejections: Rejections,
    full: LogThrottle,
    address_full: LogThrottle,
}

/// How many connections were closed before anything was asked on them, and why.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    full: AtomicU64,
    address_full: AtomicU64,
    pub(crate) untrusted: AtomicU64,
    pub(crate) proxy_header: AtomicU64,
    pub(crate) tls: AtomicU64,
}

/// One connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limiter: Arc<ConnectionLimiter>,
    counted: Counted,
}

/// An address that has as many connections as it may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AddressFull;

/// The place of a connection of a trusted proxy, which counts for whoever the request is from that is
/// under way on it, or was last.
#[derive(Debug, Clone)]
pub(crate) struct ClientPermit {
    limiter: Arc<ConnectionLimiter>,
    client: Arc<AtomicU64>,
}

/// Whose connection it is.
#[derive(Debug)]
enum Counted {
    Uncounted,
    PerClient(RateLimitKey),
    PerRequest(Arc<AtomicU64>),
}

/// A table that is used by less than a quarter gives memory back, but not below so many places.
const SMALL_TABLE: usize = 1024;

impl ConnectionLimiter {
    pub(crate) fn new(limits: &ServeLimits) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let capacity = limits.connections.min(most);
        Self {
            permits: Semaphore::new(capacity as usize),
            capacity,
            per_address: limits.connections_per_address,
            rate: TokenBucket::new(limits.accepts_per_second, limits.accept_burst),
            clients: Mutex::default(),
            accepted: AtomicU64::new(0),
            rejections: Rejections::default(),
            full: LogThrottle::default(),
            address_full: LogThrottle::default(),
        }
    }

    /// Waits until one more connection may be accepted.
    pub(crate) async fn turn(&self) {
        self.rate.take().await;
    }

    /// A permit and the number of the connection; `None` while every permit is taken.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<(Permit, u64)> {
        let Ok(permit) = self.permits.try_acquire() else {
            self.rejections.full.fetch_add(1, Ordering::Relaxed);
            if self.full.now() {
                tracing::warn!("all connections are taken, closing new ones at once");
            }
            return None;
        };
        permit.forget();
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        Some((Permit { limiter: self.clone(), counted: Counted::Uncounted }, number))
    }

    pub(crate) fn stats(&self) -> ServeStats {
        let Rejections { full, address_full, untrusted, proxy_header, tls } = &self.rejections;
        ServeStats {
            connections: self.connections(),
            accepted: self.accepted.load(Ordering::Relaxed),
            full: full.load(Ordering::Relaxed),
            address_full: address_full.load(Ordering::Relaxed),
            untrusted: untrusted.load(Ordering::Relaxed),
            proxy_header: proxy_header.load(Ordering::Relaxed),
            tls: tls.load(Ordering::Relaxed),
        }
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        (self.capacity as usize).saturating_sub(self.permits.available_permits())
    }

    /// Waits until no connection is open. None is admitted any more after that.
    pub(crate) async fn all_closed(&self) {
        if let Ok(all) = self.permits.acquire_many(self.capacity).await {
            all.forget();
        }
    }

    fn enter(&self, client: RateLimitKey) -> Result<(), AddressFull> {
        let mut clients = self.clients();
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
        if self.address_full.now() {
            tracing::warn!(
                client = %client.address(),
                limit = self.per_address,
                "an address has as many connections as it may have, turning more away"
            );
        }
        Err(AddressFull)
    }

    fn leave(&self, client: RateLimitKey) {
        let mut clients = self.clients();
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

    fn clients(&self) -> MutexGuard<'_, HashMap<RateLimitKey, u32>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Counts the connection for an address, once.
    pub(crate) fn count_for(&mut self, address: IpAddr) -> Result<(), AddressFull> {
        let client = RateLimitKey::of(address);
        self.limiter.enter(client)?;
        self.release(Counted::PerClient(client));
        Ok(())
    }

    /// From now on the connection counts for whoever each request is from.
    pub(crate) fn per_request(&mut self) -> ClientPermit {
        let client = Arc::new(AtomicU64::new(0));
        self.release(Counted::PerRequest(client.clone()));
        ClientPermit { limiter: self.limiter.clone(), client }
    }

    fn release(&mut self, next: Counted) {
        match std::mem::replace(&mut self.counted, next) {
            Counted::Uncounted => {}
            Counted::PerClient(client) => self.limiter.leave(client),
            Counted::PerRequest(client) => {
                if let Some(client) = RateLimitKey::from_number(client.swap(0, Ordering::Relaxed)) {
                    self.limiter.leave(client);
                }
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release(Counted::Uncounted);
        self.limiter.permits.add_permits(1);
    }
}

impl ClientPermit {
    /// The connection counts for this address from now on. There is one request at a time on a
    /// connection, so this is never called twice at once.
    pub(crate) fn take(&self, address: IpAddr) -> Result<(), AddressFull> {
        let client = RateLimitKey::of(address);
        let former = RateLimitKey::from_number(self.client.load(Ordering::Relaxed));
        if former == Some(client) {
            return Ok(());
        }
        let entered = self.limiter.enter(client);
        let taken = if entered.is_ok() { client.number() } else { 0 };
        self.client.store(taken, Ordering::Relaxed);
        if let Some(former) = former {
            self.limiter.leave(former);
        }
        entered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(connections: u32, connections_per_address: u32) -> Arc<ConnectionLimiter> {
        let limits = ServeLimits { connections, connections_per_address, ..ServeLimits::default() };
        Arc::new(ConnectionLimiter::new(&limits))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_connections_and_another_one_has_its_own() {
        let limiter = limiter(10, 2);
        let mut permits: Vec<Permit> = (0..4).map(|_| limiter.admit().unwrap().0).collect();
        assert_eq!(permits[0].count_for(ip("192.0.2.1")), Ok(()));
        assert_eq!(permits[1].count_for(ip("::ffff:192.0.2.1")), Ok(()));
        assert_eq!(permits[2].count_for(ip("192.0.2.1")), Err(AddressFull));
        assert_eq!(permits[3].count_for(ip("192.0.2.2")), Ok(()));
        drop(permits.remove(0));
        assert_eq!(permits[1].count_for(ip("192.0.2.1")), Ok(()));
        drop(permits);
        assert!(limiter.clients().is_empty());
        assert_eq!(limiter.connections(), 0);
    }

    #[test]
    fn a_seat_counts_for_the_client_of_the_request_and_is_free_with_the_slot() {
        let limiter = limiter(10, 1);
        let (mut permit, mut other) = (limiter.admit().unwrap().0, limiter.admit().unwrap().0);
        let (client, other_client) = (permit.per_request(), other.per_request());
        let (one, two) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!(client.take(one), Ok(()));
        assert_eq!(client.take(one), Ok(()));
        assert_eq!(other_client.take(one), Err(AddressFull));
        assert_eq!(other_client.take(two), Ok(()));
        assert_eq!(client.take(two), Err(AddressFull));
        // Turned away, it counts for nobody.
        assert_eq!(other_client.take(one), Ok(()));
        drop(other);
        drop(permit);
        assert!(limiter.clients().is_empty());
    }

    #[test]
    fn the_table_gives_memory_back() {
        let limiter = limiter(100_000, 1);
        let mut permits = Vec::new();
        for number in 0..20_000_u32 {
            let mut permit = limiter.admit().unwrap().0;
            permit.count_for(IpAddr::V4(number.into())).unwrap();
            permits.push(permit);
        }
        assert!(limiter.clients().capacity() >= 20_000);
        drop(permits);
        assert!(
            limiter.clients().capacity() <= SMALL_TABLE * 2,
            "{}",
            limiter.clients().capacity()
        );
    }
}
