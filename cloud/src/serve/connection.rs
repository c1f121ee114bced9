use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::Instrument;
use warp::{Filter, Reply};

use super::{ServeLimits, Tls};

/// Who is at the other end, among the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address that the connection came from; a proxy's, if there is one in between.
    pub address: SocketAddr,
    /// Number of the connection, the `connection` of the log, counted from 1.
    pub connection: u64,
}

/// The way of a connection from accepted to the filter.
pub(super) struct Edge<F> {
    filter: F,
    tls: Option<TlsAcceptor>,
    handshake: Duration,
    http: http1::Builder,
    stopping: watch::Receiver<bool>,
}

/// The least that hyper takes for its buffers, in bytes.
const SMALLEST_BUFFER: usize = 8192;

impl<F> Edge<F>
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    pub(super) fn new(
        filter: F,
        tls: Option<Tls>,
        limits: &ServeLimits,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.handshake)
            .max_buf_size(limits.request_head.max(SMALLEST_BUFFER));
        Self {
            filter,
            tls: tls.map(|tls| tls.acceptor()),
            handshake: limits.handshake,
            http,
            stopping,
        }
    }

    /// Runs one connection until it is closed or upgraded. Its slot is free again when the socket is
    /// closed, whoever has it by then.
    pub(super) async fn run(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: Peer,
        slot: OwnedSemaphorePermit,
    ) {
        let span = tracing::info_span!(
            "connection",
            connection = peer.connection,
            peer = %peer.address
        );
        async move {
            match self.handshake(tcp).await {
                Ok(io) => self.http(Socket { io, _slot: slot }, peer).await,
                Err(error) => tracing::debug!(%error, "the TLS handshake failed"),
            }
        }
        .instrument(span)
        .await;
    }

    async fn handshake(&self, tcp: TcpStream) -> io::Result<Io> {
        let Some(tls) = &self.tls else {
            return Ok(Io::Plain(tcp));
        };
        let stream = tokio::time::timeout(self.handshake, tls.accept(tcp)).await??;
        Ok(Io::Tls(Box::new(stream)))
    }

    async fn http(&self, socket: Socket, peer: Peer) {
        let filtered = TowerToHyperService::new(warp::service(self.filter.clone()));
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            filtered.call(request)
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
}

/// A socket that gives its slot back when it is closed.
pub(crate) struct Socket {
    io: Io,
    _slot: OwnedSemaphorePermit,
}

/// TLS in a box: an enum is as big as its biggest case.
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
