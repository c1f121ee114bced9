//! HTTP on one connection: its requests, the time in between, and its end.

use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::activity::{Activity, Phase};
use crate::limiter::ConnectionLimiter;
use crate::serve_limits::ServeLimits;
use crate::socket::Socket;
use crate::task::{self, Task};
use crate::upgrades::first_bytes;

/// The smallest buffer that hyper accepts, in bytes.
const MIN_BUFFER: usize = 8192;

/// How long a connection stays open for a request that is on its way when the server stops.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// How long closing a connection that is idle may take: over TLS, the last record may have to wait for the client.
const CLOSING: Duration = Duration::from_secs(1);

/// Serves HTTP on the connections of a listener.
pub(crate) struct Http {
    builder: http1::Builder,
    handshake: Duration,
    idle: Duration,
    stopping: watch::Receiver<bool>,
    limiter: Arc<ConnectionLimiter>,
}

impl Http {
    pub(crate) fn new(
        limits: &ServeLimits,
        stopping: watch::Receiver<bool>,
        limiter: Arc<ConnectionLimiter>,
    ) -> Self {
        let mut builder = http1::Builder::new();
        // hyper's own timeout of heads includes the time before their first byte.
        builder.header_read_timeout(None).max_buf_size(limits.request_head.max(MIN_BUFFER));
        let (handshake, idle) = (limits.handshake, limits.http_idle);
        Self { builder, handshake, idle, stopping, limiter }
    }

    /// Reads what a connection begins with: nothing if that takes too long, or if the server is stopping.
    pub(crate) async fn first_bytes(&self, socket: &mut Socket, opened: Instant) -> Vec<u8> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            read = first_bytes(socket) => read.unwrap_or_default(),
            () = sleep_until(opened + self.handshake) => Vec::new(),
            _ = stopping.wait_for(|stop| *stop) => Vec::new(),
        }
    }

    /// Serves a connection until it is closed or upgraded. Returns what follows an upgrade.
    pub(crate) async fn serve<S, B>(
        &self,
        socket: Socket,
        activity: Arc<Activity>,
        service: S,
    ) -> Option<Task>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let end = End(activity);
        let activity = &end.0;
        let service = service_fn(|request| {
            activity.requested();
            // Boxed, as hyper keeps the space of a response's future also while there is none, and it is big.
            let response = Box::pin(service.call(request));
            async { Ok::<_, Infallible>(self.answer(response.await?, activity)) }
        });
        let serving = self.builder.serve_connection(TokioIo::new(socket), service);
        self.run(pin!(serving.with_upgrades()), activity).await;
        task::next()
    }

    /// Says in the response if it is the connection's last.
    fn answer<B>(&self, response: Response<B>, activity: &Arc<Activity>) -> Response<Watched<B>> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            activity.end();
            return response.map(|body| Watched { body, activity: None });
        }
        let mut activity = Some(activity.clone()).filter(|activity| self.may_stay(activity));
        if response.headers().get(CONNECTION).is_some_and(|value| value == "close") {
            activity = None;
        }
        let is_last = activity.is_none();
        let mut response = response.map(|body| Watched { body, activity });
        if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Whether the connection may become idle.
    fn may_stay(&self, activity: &Activity) -> bool {
        if *self.stopping.borrow() {
            return false;
        }
        let Some(client) = activity.client() else { return true };
        !self.limiter.is_nearly_full() && self.limiter.idle().has_room(client)
    }

    async fn run<I, S>(
        &self,
        mut serving: Pin<&mut http1::UpgradeableConnection<I, S>>,
        activity: &Activity,
    ) where
        http1::UpgradeableConnection<I, S>: Future<Output = hyper::Result<()>>,
        S: HttpService<Incoming>,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        I: hyper::rt::Read + hyper::rt::Write + Unpin,
        S::ResBody: 'static,
        <S::ResBody as Body>::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut stopping = self.stopping.clone();
        // Until when a request may begin, once the server is stopping.
        let mut last_request = None;
        // Until when the client may take what was sent to it, once the connection is closing.
        let mut closing: Option<Instant> = None;
        loop {
            let phase = activity.phase();
            let due = match phase {
                _ if closing.is_some() => closing,
                Phase::Opened(since) => earlier(since + self.handshake, last_request),
                Phase::Idle(since, _) => earlier(since + self.idle, last_request),
                Phase::Head(since) => Some(since + self.handshake),
                Phase::Evicted => Some(Instant::now()),
                Phase::Busy | Phase::Sending | Phase::Over => None,
            };
            tokio::select! {
                biased;
                served = &mut serving => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "the connection ended with an error");
                    }
                    return;
                }
                () = activity.changed() => {}
                () = sleep(due) => match phase {
                    Phase::Idle(..) | Phase::Evicted if closing.is_none() => {
                        closing = Some(Instant::now() + CLOSING);
                        serving.as_mut().graceful_shutdown();
                    }
                    Phase::Opened(_)
                    | Phase::Head(_)
                    | Phase::Busy
                    | Phase::Sending
                    | Phase::Idle(..)
                    | Phase::Evicted
                    | Phase::Over => {
                        tracing::debug!(?phase, "closed a connection that took too long");
                        return;
                    }
                },
                _ = stopping.wait_for(|stop| *stop), if last_request.is_none() => {
                    last_request = Some(Instant::now() + LAST_REQUEST);
                    // The response that is not begun yet says that it is the last. An idle connection would be
                    // closed at once.
                    if phase == Phase::Busy {
                        serving.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}

fn earlier(due: Instant, other: Option<Instant>) -> Option<Instant> {
    Some(other.map_or(due, |other| due.min(other)))
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Ends the activity of a connection when its task does.
struct End(Arc<Activity>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of a response, after which the connection becomes idle unless it is closed.
struct Watched<B> {
    body: B,
    activity: Option<Arc<Activity>>,
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        if let Some(activity) = self.activity.take() {
            activity.responded();
        }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
