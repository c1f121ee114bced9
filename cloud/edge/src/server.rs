//! The accept loop: listens, lets connections in within the limits, and ends when it is told to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use warp::{Filter, Reply};

use crate::connection::{self, ConnectionHandler};
use crate::limiter::{ConnectionLimiter, ServeStats};
use crate::listen;
use crate::options::{Listen, ServeOptions};
use crate::proxies::TrustedProxies;
use crate::throttle::LogThrottle;

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
    limiter: Arc<ConnectionLimiter>,
    acceptors: JoinSet<()>,
}

/// Runs any warp filter behind our own accept loop: with limits before TLS, TLS, deadlines, and
/// buffers that are gone once a connection is upgraded. The filter finds a [`Peer`](crate::Peer) among
/// the request's extensions.
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
    let limiter = Arc::new(ConnectionLimiter::new(&limits));
    let trusted = Arc::new(TrustedProxies::new(trusted_proxies));
    let mut acceptors = JoinSet::new();
    for (number, ((listener, _), options)) in listeners.into_iter().zip(listen).enumerate() {
        let handler = ConnectionHandler {
            filter: filter.clone(),
            number,
            tls: options.tls,
            proxy_protocol: options.proxy_protocol,
            trusted: trusted.clone(),
            untrusted: LogThrottle::default(),
            limits,
            http: connection::http(&limits),
            stopping: stopping.clone(),
            limiter: limiter.clone(),
        };
        let (handler, mut stopping) = (Arc::new(handler), stopping.clone());
        acceptors.spawn(async move {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => {}
                () = accept(listener, &handler) => {}
            }
        });
    }
    Ok(Server { addresses, stop, limiter, acceptors })
}

/// Asks a [`Server`] for its [`ServeStats`], also while it stops.
#[derive(Debug, Clone)]
pub struct ServeMonitor(Arc<ConnectionLimiter>);

impl ServeMonitor {
    /// What was counted up to now.
    pub fn stats(&self) -> ServeStats {
        self.0.stats()
    }
}

impl Server {
    /// Whom to ask for what the server counts.
    pub fn monitor(&self) -> ServeMonitor {
        ServeMonitor(self.limiter.clone())
    }

    /// The addresses that it listens on, in the order of [`ServeOptions::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many connections are open, upgraded ones included.
    pub fn connections(&self) -> usize {
        self.limiter.connections()
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
        let all_closed = self.limiter.all_closed();
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
async fn accept<F>(listener: TcpListener, handler: &Arc<ConnectionHandler<F>>)
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let failing = LogThrottle::default();
    loop {
        handler.limiter.turn().await;
        match listener.accept().await {
            Ok((stream, address)) => {
                // A listener on [::] has IPv4 addresses in the form of IPv6.
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                if let Some((permit, connection)) = handler.limiter.admit() {
                    handler.begin(stream, address, permit, connection);
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
