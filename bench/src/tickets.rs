//! TLS clients, which may resume the sessions of each other, as many devices with their own tickets would.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::{ClientConfig, HandshakeKind, NamedGroup};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The name that the servers' certificate is for.
pub(crate) const HOST: &str = "localhost";

/// Connects over TLS, and counts the resumed sessions.
#[derive(Clone)]
pub(crate) struct TlsClient {
    connector: TlsConnector,
    tickets: Arc<Tickets>,
    resumed: Arc<AtomicUsize>,
}

impl TlsClient {
    /// Full handshakes only.
    pub(crate) fn without_tickets(mut config: ClientConfig) -> Self {
        config.resumption = Resumption::disabled();
        Self::new(config, Arc::default())
    }

    /// A ticket for each connection, if one is left, once that is [allowed](Self::resume).
    pub(crate) fn with_tickets(mut config: ClientConfig) -> Self {
        let tickets = Arc::<Tickets>::default();
        config.resumption = Resumption::store(tickets.clone());
        Self::new(config, tickets)
    }

    fn new(config: ClientConfig, tickets: Arc<Tickets>) -> Self {
        Self { connector: Arc::new(config).into(), tickets, resumed: Arc::default() }
    }

    /// From now on tickets are not only collected, but used.
    pub(crate) fn resume(&self) {
        self.tickets.are_used.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn connect(&self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.connector.connect(name()?, tcp).await?;
        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(stream)
    }

    /// The connections that resumed a session.
    pub(crate) fn resumed(&self) -> usize {
        self.resumed.load(Ordering::Relaxed)
    }
}

fn name() -> std::io::Result<ServerName<'static>> {
    ServerName::try_from(HOST).map_err(std::io::Error::other)
}

/// All tickets that have not been used.
#[derive(Default)]
struct Tickets {
    unused: Mutex<Vec<Tls13ClientSessionValue>>,
    are_used: AtomicBool,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner).push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if !self.are_used.load(Ordering::Relaxed) {
            return None;
        }
        self.unused.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
