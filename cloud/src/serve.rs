mod body;
mod connection;
mod gate;
mod limits;
mod listen;
mod proxies;
mod proxy_protocol;
mod socket;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use warp::{Filter, Reply};

use connection::Edge;
use gate::Gate;
use limits::OncePerSecond;
use proxies::TrustedProxies;

pub use connection::Peer;
pub(crate) use socket::Socket;
pub use tls::{Tls, TlsError};

/// How [`serve`] serves.
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
    /// Which. Port 0 takes a free one, see [`Server::addresses`].
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
    gate: Arc<Gate>,
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
    let ServeOptions { listen, trusted_proxies, limits } = options;
    if listen.is_empty() {
        return Err(ServeError::NoAddress);
    }
    let listeners = listen
        .iter()
        .map(|Listen { address, .. }| {
            listen::listen(*address, limits.stalled)
                .map_err(|source| ServeError::Listen { address: *address, source })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let addresses = listeners.iter().map(|(_, address)| *address).collect();
    let (stop, stopping) = watch::channel(false);
    let gate = Arc::new(Gate::new(&limits));
    let trusted = Arc::new(TrustedProxies::new(trusted_proxies));
    let mut acceptors = JoinSet::new();
    for (number, ((listener, _), options)) in listeners.into_iter().zip(listen).enumerate() {
        let edge = Edge {
            filter: filter.clone(),
            number,
            tls: options.tls,
            proxy_protocol: options.proxy_protocol,
            trusted: trusted.clone(),
            untrusted: OncePerSecond::default(),
            limits,
            http: connection::http(&limits),
            stopping: stopping.clone(),
            gate: gate.clone(),
        };
        let (edge, mut stopping) = (Arc::new(edge), stopping.clone());
        acceptors.spawn(async move {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => {}
                () = accept(listener, &edge) => {}
            }
        });
    }
    Ok(Server { addresses, stop, gate, acceptors })
}

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

/// Asks a [`Server`] for its [`ServeStats`], also while it stops.
#[derive(Debug, Clone)]
pub struct ServeMonitor(Arc<Gate>);

impl ServeMonitor {
    /// What was counted up to now.
    pub fn stats(&self) -> ServeStats {
        self.0.stats()
    }
}

impl Server {
    /// Whom to ask for what the server counts.
    pub fn monitor(&self) -> ServeMonitor {
        ServeMonitor(self.gate.clone())
    }

    /// The addresses that it listens on, in the order of [`ServeOptions::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many connections are open, upgraded ones included.
    pub fn connections(&self) -> usize {
        self.gate.connections()
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
        let all_closed = self.gate.all_closed();
        if tokio::time::timeout(patience, all_closed).await.is_ok() {
            0
        } else {
            self.connections()
        }
    }
}

/// How long the accept loop rests when the process or the system has run out of something.
const REST: Duration = Duration::from_millis(100);

/// Accepts for ever: no error ends it.
async fn accept<F>(listener: TcpListener, edge: &Arc<Edge<F>>)
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let failing = OncePerSecond::default();
    loop {
        edge.gate.turn().await;
        match listener.accept().await {
            Ok((stream, address)) => {
                // A listener on [::] has IPv4 addresses in the form of IPv6.
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                if let Some((slot, connection)) = edge.gate.admit() {
                    edge.begin(stream, address, slot, connection);
                }
            }
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
