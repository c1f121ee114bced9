//! One connection on its way from accepted to the filter: PROXY header, TLS, HTTP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::Instrument;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::body::Timed;
use crate::limiter::{AddressFull, ClientPermit, ConnectionLimiter, Permit};
use crate::options::ServeLimits;
use crate::peer::Peer;
use crate::proxies::{self, TrustedProxies};
use crate::proxy_protocol;
use crate::socket::Socket;
use crate::throttle::LogThrottle;
use crate::tls::Tls;

/// The way of a listener's connections from accepted to the filter.
pub(crate) struct ConnectionHandler<F> {
    pub(crate) filter: F,
    /// Which listener.
    pub(crate) number: usize,
    pub(crate) tls: Option<Tls>,
    pub(crate) proxy_protocol: bool,
    pub(crate) trusted: Arc<TrustedProxies>,
    /// Whether it is time to log that somebody else came to where only trusted proxies may.
    pub(crate) untrusted: LogThrottle,
    pub(crate) limits: ServeLimits,
    pub(crate) http: http1::Builder,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) limiter: Arc<ConnectionLimiter>,
}

/// The least that hyper takes for its buffers, in bytes.
const SMALLEST_BUFFER: usize = 8192;

/// When a client may come back that has as many connections as it may have.
const ADDRESS_FULL_RETRY: Duration = Duration::from_secs(10);

/// How the connections speak HTTP.
pub(crate) fn http(limits: &ServeLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.handshake)
        .max_buf_size(limits.request_head.max(SMALLEST_BUFFER));
    http
}

impl<F> ConnectionHandler<F>
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    /// Begins with a connection that was just accepted, or closes it if it may not be. Nothing has
    /// been spent on it by then.
    pub(crate) fn begin(
        self: &Arc<Self>,
        tcp: TcpStream,
        from: SocketAddr,
        mut permit: Permit,
        connection: u64,
    ) {
        let trusted = self.trusted.contains(from.ip());
        if self.proxy_protocol && !trusted {
            self.limiter.rejections.untrusted.fetch_add(1, Ordering::Relaxed);
            if self.untrusted.now() {
                tracing::warn!(peer = %from, "closed a connection that comes from no trusted proxy");
            }
            return;
        }
        if !trusted && permit.count_for(from.ip()).is_err() {
            return;
        }
        tokio::spawn(self.clone().run(tcp, from, permit, connection));
    }

    /// Runs one connection until it is closed or upgraded. Its permit is free again when the socket is
    /// closed, whoever has it by then.
    async fn run(
        self: Arc<Self>,
        mut tcp: TcpStream,
        from: SocketAddr,
        permit: Permit,
        number: u64,
    ) {
        let mut peer = Peer {
            address: from,
            via: None,
            encrypted: self.tls.is_some(),
            listener: self.number,
            connection: number,
        };
        if self.proxy_protocol {
            match self.client(&mut tcp).await {
                Ok(None) => {}
                Ok(Some(client)) => (peer.address, peer.via) = (client, Some(from)),
                Err(error) => {
                    self.limiter.rejections.proxy_header.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(peer = %from, connection = number, error, "closed a connection");
                    return;
                }
            }
        }
        let span = tracing::info_span!("connection", connection = number, peer = %peer.address);
        self.serve(tcp, peer, permit).instrument(span).await;
    }

    async fn serve(&self, tcp: TcpStream, peer: Peer, mut permit: Permit) {
        let mut client_permit = None;
        if self.trusted.contains(peer.address.ip()) {
            client_permit = Some(permit.per_request());
        } else if peer.via.is_some() && permit.count_for(peer.address.ip()).is_err() {
            return;
        }
        match self.handshake(tcp, permit).await {
            Ok(socket) => self.http(socket, peer, client_permit).await,
            Err(error) => {
                self.limiter.rejections.tls.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "the TLS handshake failed");
            }
        }
    }

    /// Who the proxy says that its client is.
    async fn client(&self, tcp: &mut TcpStream) -> Result<Option<SocketAddr>, String> {
        match tokio::time::timeout(self.limits.handshake, proxy_protocol::read(tcp)).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err("no PROXY header in time".into()),
        }
    }

    async fn handshake(&self, tcp: TcpStream, permit: Permit) -> io::Result<Socket> {
        let Some(tls) = &self.tls else {
            return Ok(Socket::plain(tcp, permit));
        };
        let handshake = tls.acceptor().accept(tcp);
        let stream = tokio::time::timeout(self.limits.handshake, handshake).await??;
        Ok(Socket::tls(stream, permit))
    }

    async fn http(&self, socket: Socket, peer: Peer, client_permit: Option<ClientPermit>) {
        let filtered = TowerToHyperService::new(warp::service(self.filter.clone()));
        let service = service_fn(|mut request: Request<Incoming>| {
            let answered =
                self.peer_of(request.headers(), peer, client_permit.as_ref()).map(|peer| {
                    request.extensions_mut().insert(peer);
                    filtered.call(request.map(|body| Timed::new(body, self.limits.request_body)))
                });
            async move {
                match answered {
                    Ok(answering) => answering.await,
                    Err(AddressFull) => Ok::<_, Infallible>(address_full()),
                }
            }
        });
        let serving = self.http.serve_connection(TokioIo::new(socket), service).with_upgrades();
        let mut serving = pin!(serving);
        let mut stopping = self.stopping.clone();
        let served = tokio::select! {
            served = &mut serving => Some(served),
            _ = stopping.wait_for(|stop| *stop) => None,
        };
        let served = match served {
            Some(served) => served,
            None => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "the connection ended early");
        }
    }

    /// Whose request it is. The connection counts for that client if it is another one than the
    /// connection's, which it only is behind a trusted proxy.
    fn peer_of(
        &self,
        headers: &HeaderMap,
        connection: Peer,
        client_permit: Option<&ClientPermit>,
    ) -> Result<Peer, AddressFull> {
        let Some(client_permit) = client_permit else {
            return Ok(connection);
        };
        let address = self.trusted.client(connection.address, headers);
        let encrypted = connection.encrypted || proxies::says_encrypted(headers);
        if address == connection.address {
            return Ok(Peer { encrypted, ..connection });
        }
        client_permit.take(address.ip())?;
        let via = connection.via.or(Some(connection.address));
        Ok(Peer { address, via, encrypted, ..connection })
    }
}

fn address_full() -> Response {
    let text = "this address has as many connections as it may have\n";
    let mut answer = warp::reply::with_status(text, StatusCode::TOO_MANY_REQUESTS).into_response();
    let seconds = HeaderValue::from(ADDRESS_FULL_RETRY.as_secs());
    answer.headers_mut().insert(RETRY_AFTER, seconds);
    answer
}
