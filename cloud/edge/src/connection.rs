//! One connection from accept to the filter: PROXY header, TLS, and the client of each request.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;
use tracing::Instrument;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::activity::Activity;
use crate::body::TimeoutBody;
use crate::client_certificate::ClientCertificate;
use crate::handshake_error;
use crate::http::Http;
use crate::limiter::{AddressFull, ClientPermit, ConnectionLimiter, Permit};
use crate::peer::Peer;
use crate::proxies::{self, TrustedProxies};
use crate::proxy_protocol;
use crate::rate_limit_key::RateLimitKey;
use crate::refusals::Refusals;
use crate::serve_limits::ServeLimits;
use crate::socket::Socket;
use crate::task::{self, Task};
use crate::throttle::LogThrottle;
use crate::tls::Tls;
use crate::tls_input::TlsInput;
use crate::upgrades::Upgrades;

/// Handles the connections of one listener, from accept to the filter.
pub(crate) struct ConnectionHandler<F> {
    pub(crate) filter: F,
    /// Index of the listener.
    pub(crate) number: usize,
    pub(crate) tls: Option<Tls>,
    pub(crate) proxy_protocol: bool,
    pub(crate) trusted: Arc<TrustedProxies>,
    /// For the warning about connections that don't come from a trusted proxy.
    pub(crate) untrusted: LogThrottle,
    pub(crate) upgrades: Option<Upgrades>,
    pub(crate) limits: ServeLimits,
    pub(crate) http: Http,
    pub(crate) refusals: Refusals,
    pub(crate) limiter: Arc<ConnectionLimiter>,
}

/// When a client that has reached its limit of connections should retry.
const ADDRESS_FULL_RETRY: Duration = Duration::from_secs(10);

impl<F> ConnectionHandler<F>
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    /// Starts to handle a connection that was just accepted, or closes it if it is not allowed, before
    /// anything is spent on it.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        tcp: TcpStream,
        from: SocketAddr,
        mut permit: Permit,
        connection: u64,
    ) {
        let trusted = self.trusted.contains(from.ip());
        if self.proxy_protocol && !trusted {
            self.limiter.rejections.untrusted.fetch_add(1, Ordering::Relaxed);
            if self.untrusted.is_due() {
                tracing::warn!(peer = %from, "closed a connection that does not come from a trusted proxy");
            }
            return;
        }
        if !trusted && permit.count_for(from.ip()).is_err() {
            return;
        }
        tokio::spawn(Task::new(self.clone().run(tcp, from, permit, connection)));
    }

    /// Runs a connection until it is closed or upgraded. The socket keeps the permit until it is closed,
    /// even after an upgrade.
    async fn run(
        self: Arc<Self>,
        mut tcp: TcpStream,
        from: SocketAddr,
        permit: Permit,
        number: u64,
    ) -> Option<Task> {
        let mut peer = Peer {
            address: from,
            via: None,
            encrypted: self.tls.is_some(),
            listener: self.number,
            connection: number,
            certificate: None,
        };
        if self.proxy_protocol {
            match Box::pin(self.proxied_client(&mut tcp)).await {
                Ok(None) => {}
                Ok(Some(client)) => (peer.address, peer.via) = (client, Some(from)),
                Err(error) => {
                    self.limiter.rejections.proxy_header.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(peer = %from, connection = number, error, "closed a connection without a valid PROXY header");
                    return None;
                }
            }
        }
        let span = tracing::info_span!("connection", connection = number, peer = %peer.address);
        self.serve(tcp, peer, permit).instrument(span).await
    }

    async fn serve(&self, tcp: TcpStream, mut peer: Peer, mut permit: Permit) -> Option<Task> {
        let mut client_permit = None;
        if self.trusted.contains(peer.address.ip()) {
            client_permit = Some(permit.per_request());
        } else if peer.via.is_some() && permit.count_for(peer.address.ip()).is_err() {
            return None;
        }
        let client = client_permit.is_none().then(|| RateLimitKey::of(peer.address.ip()));
        match self.handshake(tcp, permit).await {
            Ok((mut socket, certificate)) => {
                peer.certificate = certificate;
                let opened = Instant::now();
                let mut read = Vec::new();
                if let (Some(upgrades), None) = (&self.upgrades, &client_permit) {
                    read = self.http.first_bytes(&mut socket, opened).await;
                    match upgrades.accept(&read, &peer, socket) {
                        Ok(next) => return Some(next),
                        Err(returned) => socket = returned,
                    }
                }
                let activity = Activity::new(self.limiter.idle().clone(), client, opened);
                let socket = socket.http(activity.clone(), read);
                // Boxed, so that an upgrade before needs no space for it.
                Box::pin(self.http(socket, activity, peer, client_permit)).await
            }
            Err(error) => {
                let rejections = &self.limiter.rejections;
                let about_certificate = handshake_error::is_about_client_certificate(&error);
                let count = if about_certificate {
                    &rejections.client_certificate
                } else {
                    &rejections.tls
                };
                count.fetch_add(1, Ordering::Relaxed);
                match handshake_error::explain(&error) {
                    Some(problem) => tracing::info!(problem, "the TLS handshake failed"),
                    None => tracing::debug!(%error, "the TLS handshake failed"),
                }
                None
            }
        }
    }

    /// The client that the PROXY header names.
    async fn proxied_client(&self, tcp: &mut TcpStream) -> Result<Option<SocketAddr>, String> {
        match tokio::time::timeout(self.limits.handshake, proxy_protocol::read(tcp)).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err("no PROXY header was received in time".into()),
        }
    }

    /// The time for the first request begins after TLS.
    async fn handshake(
        &self,
        tcp: TcpStream,
        permit: Permit,
    ) -> io::Result<(Socket, Option<Arc<ClientCertificate>>)> {
        let Some(tls) = &self.tls else {
            return Ok((Socket::plain(tcp, permit), None));
        };
        let loaded = tls.loaded();
        let handshake = loaded.acceptor().accept(TlsInput::new(tcp));
        // Boxed, so that connections without TLS need no space for it.
        let handshake = Box::pin(tokio::time::timeout(self.limits.handshake, handshake));
        let stream = handshake.await??;
        let connection = stream.get_ref().1;
        let certificate = tls.client_certificate(&loaded, connection).map_err(io::Error::other)?;
        self.limiter.handshakes.count(connection.handshake_kind());
        Ok((Socket::tls(stream, permit), certificate))
    }

    async fn http(
        &self,
        socket: Socket,
        activity: Arc<Activity>,
        peer: Peer,
        client_permit: Option<ClientPermit>,
    ) -> Option<Task> {
        let service = service_fn(|mut request: Request<Incoming>| {
            let response =
                self.peer_of(request.headers(), &peer, client_permit.as_ref()).map(|peer| {
                    request.extensions_mut().insert(peer);
                    let request =
                        request.map(|body| TimeoutBody::new(body, self.limits.request_body));
                    warp::service(self.filter.clone()).call(request)
                });
            async move {
                match response {
                    Ok(response) => response.await,
                    Err(AddressFull) => Ok::<_, Infallible>(address_full()),
                }
            }
        });
        task::serving(self.http.serve(socket, activity, service)).await
    }

    /// The client of a request. Behind a trusted proxy it may differ from the connection's, which then
    /// counts for that client.
    fn peer_of(
        &self,
        headers: &HeaderMap,
        connection: &Peer,
        client_permit: Option<&ClientPermit>,
    ) -> Result<Peer, AddressFull> {
        let Some(client_permit) = client_permit else {
            return Ok(connection.clone());
        };
        let address = self.trusted.client(connection.address, headers);
        let encrypted = connection.encrypted || proxies::is_encrypted(headers);
        if address == connection.address {
            return Ok(Peer { encrypted, ..connection.clone() });
        }
        client_permit.count_for(address.ip())?;
        let via = connection.via.or(Some(connection.address));
        Ok(Peer { address, via, encrypted, ..connection.clone() })
    }
}

fn address_full() -> Response {
    let text = "too many connections from this address\n";
    let mut response =
        warp::reply::with_status(text, StatusCode::TOO_MANY_REQUESTS).into_response();
    let seconds = HeaderValue::from(ADDRESS_FULL_RETRY.as_secs());
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}
