mod connection;
mod limits;
mod listen;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use warp::{Filter, Reply};

use connection::Edge;
use limits::{OncePerSecond, TokenBucket};

pub use connection::Peer;
pub(crate) use connection::Socket;
pub use tls::{Tls, TlsError};

/// How [`serve`] serves.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where to listen. Port 0 takes a free one, see [`Server::addresses`].
    pub listen: Vec<SocketAddr>,
    /// TLS for every address, or plaintext.
    pub tls: Option<Tls>,
    /// The bounds of what clients may take.
    pub limits: ServeLimits,
}

/// The bounds that hold before a request reaches the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// How many connections may be open at once, from accepted until the socket is closed, upgraded
    /// ones included. One more is closed at once and without an answer, before anything is spent on
    /// it; a device takes that for a cloud that cannot be reached and comes back later.
    pub connections: u32,
    /// How many connections are accepted per second. More wait in the kernel's queue, so that a
    /// fleet that comes back all at once is served at the pace the machine can go.
    pub accepts_per_second: u32,
    /// How many connections may be accepted at once after a quiet time.
    pub accept_burst: u32,
    /// How long a client may take for the TLS handshake, and again for each request's head. A client
    /// that takes longer is cut off.
    pub handshake: Duration,
    /// How long a client may take nothing of what is sent to it before its connection is ended, by the
    /// kernel and so to within a factor of two.
    pub stalled: Duration,
    /// The longest request head, in bytes, at least 8,192; a longer one is answered with 431.
    pub request_head: usize,
}

impl Default for ServeLimits {
    /// 100,000 connections, 2,000 accepted per second after a burst of 4,000, 10 s for a handshake,
    /// 60 s for a client that takes nothing, 16 KiB for a request's head.
    fn default() -> Self {
        Self {
            connections: 100_000,
            accepts_per_second: 2_000,
            accept_burst: 4_000,
            handshake: Duration::from_secs(10),
            stalled: Duration::from_secs(60),
            request_head: 16 * 1024,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is no address to listen on.
    #[error("no address to listen on, expected at least one")]
    NoAddress,
}

/// A server that runs. Dropping it stops it from accepting; what is connected goes on.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    slots: Arc<Semaphore>,
    capacity: u32,
    acceptors: JoinSet<()>,
}

/// Runs any warp filter behind our own accept loop: with limits before TLS, TLS, deadlines, and
/// buffers that are gone once a connection is upgraded. The filter finds a [`Peer`] among the
/// request's extensions.
///
/// Call it within a tokio runtime.
pub fn serve<F>(filter: F, options: ServeOptions) -> Result<Server, ServeError>
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let ServeOptions { listen, tls, limits } = options;
    if listen.is_empty() {
        return Err(ServeError::NoAddress);
    }
    let listeners = listen
        .into_iter()
        .map(|address| {
            listen::listen(address, limits.stalled)
                .map_err(|source| ServeError::Listen { address, source })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let addresses = listeners.iter().map(|(_, address)| *address).collect();
    let capacity =
        limits.connections.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
    let slots = Arc::new(Semaphore::new(capacity as usize));
    let (stop, stopping) = watch::channel(false);
    let edge = Arc::new(Edge::new(filter, tls, &limits, stopping.clone()));
    let gate = Arc::new(Gate {
        slots: slots.clone(),
        rate: TokenBucket::new(limits.accepts_per_second, limits.accept_burst),
        accepted: AtomicU64::new(0),
        full: OncePerSecond::default(),
    });
    let mut acceptors = JoinSet::new();
    for (listener, _) in listeners {
        let (edge, gate, mut stopping) = (edge.clone(), gate.clone(), stopping.clone());
        acceptors.spawn(async move {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => {}
                () = accept(listener, &edge, &gate) => {}
            }
        });
    }
    Ok(Server { addresses, stop, slots, capacity, acceptors })
}

impl Server {
    /// The addresses that it listens on, in the order of [`ServeOptions::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many connections are open, upgraded ones included.
    pub fn connections(&self) -> usize {
        (self.capacity as usize).saturating_sub(self.slots.available_permits())
    }

    /// Stops accepting. Requests that are under way are answered, upgraded connections go on.
    pub async fn stop(&mut self) {
        // No connection listening is no error.
        let _ = self.stop.send(true);
        while self.acceptors.join_next().await.is_some() {}
    }

    /// Stops accepting and waits until the last connection is closed, but not longer than
    /// `patience`. Closing the upgraded ones is for whoever runs them. Returns how many are left.
    pub async fn closed(mut self, patience: Duration) -> usize {
        self.stop().await;
        let all = self.slots.acquire_many(self.capacity);
        // A semaphore that nobody closes gives its permits.
        if tokio::time::timeout(patience, all).await.is_ok() { 0 } else { self.connections() }
    }
}

/// What stands before every connection.
struct Gate {
    slots: Arc<Semaphore>,
    rate: TokenBucket,
    /// Numbers the connections in the logs.
    accepted: AtomicU64,
    full: OncePerSecond,
}

/// How long the accept loop rests when the process or the system has run out of something.
const REST: Duration = Duration::from_millis(100);

/// Accepts for ever: no error ends it.
async fn accept<F>(listener: TcpListener, edge: &Arc<Edge<F>>, gate: &Gate)
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let failing = OncePerSecond::default();
    loop {
        gate.rate.take().await;
        match listener.accept().await {
            Ok((stream, address)) => admit(stream, address, edge, gate),
            Err(error) if is_of_the_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                if failing.now() {
                    tracing::error!(%error, "cannot accept connections, trying again");
                }
                tokio::time::sleep(REST).await;
            }
        }
    }
}

fn admit<F>(stream: TcpStream, address: SocketAddr, edge: &Arc<Edge<F>>, gate: &Gate)
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let Some(slot) = free_slot(gate) else {
        if gate.full.now() {
            tracing::warn!(peer = %address, "all connections are taken, closing new ones at once");
        }
        return;
    };
    let connection = gate.accepted.fetch_add(1, Ordering::Relaxed) + 1;
    tokio::spawn(edge.clone().run(stream, Peer { address, connection }, slot));
}

fn free_slot(gate: &Gate) -> Option<OwnedSemaphorePermit> {
    gate.slots.clone().try_acquire_owned().ok()
}

/// Whether an error of `accept` is about the one connection and not about ours: the next call goes
/// on with the next connection. Linux reports errors of the new socket's network so, see accept(2).
fn is_of_the_connection(error: &io::Error) -> bool {
    use nix::errno::Errno::{
        ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH, ENONET, ENOPROTOOPT,
        EOPNOTSUPP, EPERM, EPROTO,
    };
    let of_the_connection = [
        ECONNABORTED,
        EHOSTDOWN,
        EHOSTUNREACH,
        EINTR,
        ENETDOWN,
        ENETUNREACH,
        ENONET,
        ENOPROTOOPT,
        EOPNOTSUPP,
        EPERM,
        EPROTO,
    ];
    error.raw_os_error().is_some_and(|code| of_the_connection.iter().any(|e| *e as i32 == code))
}
