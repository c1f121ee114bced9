//! The accept loop: listens, admits connections within the limits, and stops on request.

use std::io;
use std::net::SocketAddr;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use warp::{Filter, Reply};

use crate::connection::ConnectionHandler;
use crate::http::Http;
use crate::limiter::{ConnectionLimiter, ServeStats};
use crate::listen;
use crate::options::{Listen, ServeOptions};
use crate::proxies::TrustedProxies;
use crate::refusals::Refusals;
use crate::serve_limits::ServeLimits;
use crate::throttle::LogThrottle;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Listening on an address failed.
    #[error("cannot listen on {address}: {source}{}", listen::hint(source))]
    #[non_exhaustive]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// No address was given.
    #[error("no address to listen on, expected at least one")]
    NoAddress,
}

/// A running server. Dropping it stops accepting; open connections continue.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use fedecks_cloud::{Listen, serve};
/// use warp::Filter;
///
/// let hello = warp::any().map(|| "hello");
/// let server = serve(hello, Listen::plain("127.0.0.1:0".parse()?))?;
/// println!("listening on {}", server.addresses()[0]);
///
/// let still_open = server.closed(Duration::from_secs(10)).await;
/// assert_eq!(still_open, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    monitor: ServeMonitor,
    acceptors: JoinSet<()>,
}

/// Runs a warp filter behind this crate's accept loop, with limits that are enforced before TLS, with
/// TLS, timeouts, and buffers that are freed when a connection is upgraded. The filter finds a
/// [`Peer`](crate::Peer) among the request's extensions.
///
/// Must be called within a tokio runtime.
pub fn serve<F>(filter: F, options: impl Into<ServeOptions>) -> Result<Server, ServeError>
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let ServeOptions { listen, trusted_proxies, limits } = options.into();
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
    let numbers: Arc<AtomicU64> = Arc::default();
    let shared = Arc::new(ConnectionLimiter::new(&limits, numbers.clone()));
    let mut limiters = vec![shared.clone()];
    let refusals = Refusals::default();
    let trusted = Arc::new(TrustedProxies::new(trusted_proxies));
    let mut acceptors = JoinSet::new();
    for (number, ((listener, _), options)) in listeners.into_iter().zip(listen).enumerate() {
        let limiter = match options.connections {
            None => shared.clone(),
            Some(connections) => {
                let connections_per_address = limits.connections_per_address.min(connections);
                let own = ServeLimits { connections, connections_per_address, ..limits };
                let own = Arc::new(ConnectionLimiter::new(&own, numbers.clone()));
                limiters.push(own.clone());
                own
            }
        };
        let handler = ConnectionHandler {
            filter: filter.clone(),
            number,
            tls: options.tls,
            proxy_protocol: options.proxy_protocol,
            trusted: trusted.clone(),
            untrusted: LogThrottle::default(),
            upgrades: options.upgrades,
            limits,
            http: Http::new(&limits, stopping.clone(), limiter.clone()),
            refusals: refusals.clone(),
            limiter,
        };
        let (handler, mut stopping) = (Arc::new(handler), stopping.clone());
        acceptors.spawn(async move {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => {}
                () = accept(listener, &handler) => {}
            }
        });
    }
    Ok(Server { addresses, stop, monitor: ServeMonitor(limiters.into()), acceptors })
}

/// Listens on these addresses for a moment, in their order and all at a time as [`serve`] does, and returns the
/// errors of those for which it failed. Call it with the addresses of a server that is not running.
pub fn check_addresses(addresses: &[SocketAddr]) -> Vec<ServeError> {
    let mut opened = Vec::new();
    let mut failed = Vec::new();
    for &address in addresses {
        match listen::open(address, ServeLimits::default().stalled) {
            Ok(socket) => opened.push(socket),
            Err(source) => failed.push(ServeError::Listen { address, source }),
        }
    }
    failed
}

/// Reads the [`ServeStats`] of a [`Server`], even while it is stopping.
#[derive(Debug, Clone)]
pub struct ServeMonitor(Arc<[Arc<ConnectionLimiter>]>);

impl ServeMonitor {
    /// The current numbers.
    pub fn stats(&self) -> ServeStats {
        self.0.iter().map(|limiter| limiter.stats()).fold(ServeStats::default(), Add::add)
    }
}

impl Server {
    /// A handle to read what the server counts.
    pub fn monitor(&self) -> ServeMonitor {
        self.monitor.clone()
    }

    /// The addresses it listens on, in the order of [`ServeOptions::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The number of open connections, upgraded ones included.
    pub fn connections(&self) -> usize {
        self.monitor.0.iter().map(|limiter| limiter.connections()).sum()
    }

    /// Stops accepting. Requests in progress are answered, and those that begin within a second, with
    /// `Connection: close`; upgraded connections continue.
    pub async fn stop(&mut self) {
        // Fails only if no connection is listening.
        let _ = self.stop.send(true);
        while self.acceptors.join_next().await.is_some() {}
    }

    /// Stops accepting, waits until the last connection is closed or `timeout` has passed, and returns
    /// how many connections are still open. It does not close upgraded connections.
    pub async fn closed(mut self, timeout: Duration) -> usize {
        self.stop().await;
        let limiters = self.monitor.0.clone();
        let all_closed = async {
            for limiter in &*limiters {
                limiter.all_closed().await;
            }
        };
        if tokio::time::timeout(timeout, all_closed).await.is_ok() { 0 } else { self.connections() }
    }
}

/// How long the accept loop pauses when the process or the system has run out of a resource.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections without end; no error stops it.
async fn accept<F>(listener: TcpListener, handler: &Arc<ConnectionHandler<F>>)
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let log_throttle = LogThrottle::default();
    loop {
        handler.limiter.wait_for_rate().await;
        match listener.accept().await {
            Ok((stream, address)) => {
                // A listener on [::] reports IPv4 clients by IPv4-mapped IPv6 addresses.
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                if let Some((permit, connection)) = handler.limiter.admit() {
                    handler.spawn(stream, address, permit, connection);
                } else if handler.tls.is_none() {
                    handler.refusals.answer(stream);
                }
            }
            Err(error) if is_connection_error(&error) => {
                tracing::debug!(%error, "a connection was lost before it was accepted");
            }
            Err(error) => {
                if log_throttle.is_due() {
                    tracing::error!(%error, "cannot accept connections, retrying");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether an error of `accept` concerns that one connection only, so that the next call returns the next
/// one. Linux passes pending network errors of the new socket on as errors of accept(2).
fn is_connection_error(error: &io::Error) -> bool {
    use nix::errno::Errno::{
        ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH, ENONET, ENOPROTOOPT,
        EOPNOTSUPP, EPERM, EPROTO,
    };
    let connection_errors = [
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
    error.raw_os_error().is_some_and(|code| connection_errors.iter().any(|e| *e as i32 == code))
}
