//! The task of a session: starts it, runs it, and closes its connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use fedecks_common::utc;
use fedecks_edge::Task;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::field::display;

use super::Session;
use super::driver::Driver;
use super::end::{DisconnectGuard, EndReason};
use super::error::SessionError;
use super::log_span::span_of;
use super::traffic::TrafficLimits;
use crate::access_enforcer::close_if_denied;
use crate::auth::device::{AuthenticatedBy, AuthenticatedDevice};
use crate::byte_pool::FREE;
use crate::connection::mailbox::Item;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::websocket::socket::{FrameHead, FrameKind, Incoming, Socket};

/// How long the last frames and the close handshake may take together.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The task that registers the session of a device, and runs it.
pub(crate) fn begin<H, S>(
    context: Arc<GatewayContext<H>>,
    device: AuthenticatedDevice,
    socket: Socket<S>,
) -> Task
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Task::new(async move {
        let session = Session::register(context.hub.clone(), device).await;
        Some(Task::new(run(context, session, socket)))
    })
}

/// Stores what was handled last of the kept messages.
async fn store_last<H: Handler, S: AsyncRead + AsyncWrite + Unpin>(
    driver: &mut Driver<'_, H, S>,
    end: EndReason,
) -> EndReason {
    match driver.store_last(end) {
        Ok(end) => end,
        Err(last) => {
            let (end, completed) = last.await;
            driver.stored_last(completed);
            end
        }
    }
}

/// Runs a session from its first frame to its end, and returns what closes its connection. What waits at the end is
/// boxed: a future is as big as the biggest of its states.
#[expect(
    clippy::manual_async_fn,
    reason = "the future of an async fn would contain its arguments twice"
)]
fn run<H, S>(
    context: Arc<GatewayContext<H>>,
    session: Session,
    mut socket: Socket<S>,
) -> impl Future<Output = Option<Task>> + Send
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    async move {
        let presence = session.connection_handle().presence.clone();
        let mut guard = DisconnectGuard::new(context.clone(), presence);
        let (end, arriving) = {
            let mut driver = Driver::new(&context, &session, &mut socket);
            driver.start(|| on_connected(&context, &session));
            let end = poll_fn(|cx| driver.poll(cx)).await;
            let end =
                if driver.has_last() { Box::pin(store_last(&mut driver, end)).await } else { end };
            (end, driver.traffic.arriving())
        };
        finish(&context, session, &mut socket, &mut guard, &end);
        close(context, socket, end, arriving)
    }
}

/// Ends the session before its connection is closed.
fn finish<H: Handler, S: AsyncRead + AsyncWrite + Unpin>(
    context: &GatewayContext<H>,
    session: Session,
    socket: &mut Socket<S>,
    guard: &mut DisconnectGuard<H>,
    end: &EndReason,
) {
    let span = span_of(&session.connection.presence);
    let _in_span = span.enter();
    end.log();
    end.count(context.hub.counters());
    record_seen(context, &session);
    queue_last_frames(&session, socket, end);
    // From here on the device is not connected any more.
    drop(session);
    guard.report(end);
}

fn on_connected<H: Handler>(context: &GatewayContext<H>, session: &Session) {
    let (peer, by) = (session.peer().map(display), session.authenticated_by());
    match by {
        AuthenticatedBy::Token { issued_at, late } => {
            tracing::info!(peer, %by, issued_at = %utc(issued_at), late, "connected");
        }
        AuthenticatedBy::Credentials | AuthenticatedBy::Certificate => {
            tracing::info!(peer, %by, "connected");
        }
    }
    // Again, now that the session is registered: a revocation or a block between the authentication and
    // the registration has missed it.
    close_if_denied(&context.denylist, session.connection_handle());
    record_seen(context, session);
}

fn record_seen<H: Handler>(context: &GatewayContext<H>, session: &Session) {
    let (device, now) = (session.device(), context.clock.now());
    let by_token = matches!(session.authenticated_by(), AuthenticatedBy::Token { .. });
    context.store.seen(device, session.connection_handle().generation, now, by_token);
}

/// How much of what the device sends is read at the end, in bytes, to find the answer to our close frame, or
/// the end of its half of the connection.
const READ_AT_END: u32 = 16 * 1024 * 1024;

/// Buffers the frames in the queue, if the cloud ends the session, and the close frame.
fn queue_last_frames<S: AsyncRead + AsyncWrite + Unpin>(
    session: &Session,
    socket: &mut Socket<S>,
    end: &EndReason,
) {
    let items = session.close_mailbox();
    if let EndReason::ByCloud(_) = end {
        for item in items {
            if let Item::Frame(frame) = item {
                socket.send(&frame);
            }
        }
    }
    if let Some(reason) = end.close_reason() {
        socket.close(reason);
    }
}

/// Flushes the buffer and completes the close handshake, of which mostly all is done here. Returns the task that does
/// the rest within [`CLOSE_TIMEOUT`].
fn close<H: Handler, S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    context: Arc<GatewayContext<H>>,
    mut socket: Socket<S>,
    end: EndReason,
    arriving: usize,
) -> Option<Task> {
    let mut close = Close { end, closing: Closing::Flush, left: READ_AT_END };
    let unsent = socket.unsent_memory();
    // What is pending here is polled again by the task.
    if close.poll(&mut socket, &mut Context::from_waker(Waker::noop())).is_ready() {
        return None;
    }
    Some(Task::new(async move {
        let TrafficLimits { incoming, outgoing, .. } = &context.traffic;
        // The socket keeps both until it is closed.
        let _held =
            (unsent.max(arriving) > FREE).then(|| [outgoing.hold(unsent), incoming.hold(arriving)]);
        // Whether it was in time makes no difference.
        let _ = timeout(CLOSE_TIMEOUT, poll_fn(|cx| close.poll(&mut socket, cx))).await;
        None
    }))
}

/// How far the end of a connection is.
struct Close {
    end: EndReason,
    closing: Closing,
    /// How much is still read, in bytes.
    left: u32,
}

impl Close {
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Self { end, closing, left } = self;
        if matches!(end, EndReason::Error(SessionError::Lost(_))) {
            return Poll::Ready(());
        }
        closing.poll(socket, end, left, cx)
    }
}

/// Whether a frame takes so little memory that it is not counted, as no frame is at the end.
fn takes_little(head: &FrameHead) -> bool {
    let is_whole = head.kind == FrameKind::Begins && head.is_final;
    head.kind == FrameKind::Control || (is_whole && head.payload <= FREE as u64)
}

/// The steps to close a connection.
enum Closing {
    /// Send the close frame.
    Flush,
    /// Wait for the device's close frame.
    AwaitClose,
    /// Shut down our half of the connection. If the device's was not parsed to its end, it is discarded.
    Shutdown { parsed: bool },
    /// Read the device's half to its end.
    Discard,
}

impl Closing {
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        end: &EndReason,
        left: &mut u32,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            *self = match self {
                Self::Flush => match ready!(socket.poll_flush(cx)) {
                    Ok(()) if end.close_reason().is_some() && end.can_parse() => Self::AwaitClose,
                    Ok(()) => Self::Shutdown { parsed: end.can_parse() },
                    Err(_) => return Poll::Ready(()),
                },
                Self::AwaitClose => {
                    let mut refused = false;
                    let read = socket.poll_read(cx, &mut |head| {
                        let length = u32::try_from(head.length()).unwrap_or(u32::MAX);
                        *left = left.saturating_sub(length);
                        refused = *left == 0 || !takes_little(head);
                        !refused
                    });
                    match read {
                        Poll::Pending if refused => Self::Shutdown { parsed: false },
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(SessionError::Lost(_))) => return Poll::Ready(()),
                        Poll::Ready(Ok(Incoming::Close(_)) | Err(_)) => {
                            Self::Shutdown { parsed: true }
                        }
                        Poll::Ready(Ok(_)) => Self::AwaitClose,
                    }
                }
                Self::Shutdown { parsed } => match ready!(socket.poll_shutdown(cx)) {
                    Ok(()) if *parsed => return Poll::Ready(()),
                    Ok(()) => Self::Discard,
                    Err(_) => return Poll::Ready(()),
                },
                Self::Discard => return socket.poll_discard(cx, left),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use fedecks_protocol::{CloseCode, DeviceId, Dialect, Limits, Term, UpFrame};
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::handler::{Decision, Login, Outcome};
    use crate::websocket::socket::tests::frame;
    use crate::{Fedecks, Keyring};
    use fedecks_store::SqliteStore;

    struct RejectAll;

    impl Handler for RejectAll {
        async fn authenticate(&self, _: Login<'_>) -> Decision {
            Decision::Reject
        }
    }

    async fn session<H: Handler>(handler: H) -> (Fedecks<H>, Session) {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let keyring = Keyring::new(&"x".repeat(32), &"y".repeat(8)).unwrap();
        let fedecks = Fedecks::builder(handler, keyring, store).build().await.unwrap();
        let device = AuthenticatedDevice::for_test(DeviceId::new("a").unwrap());
        let session = Session::register(fedecks.hub(), device).await;
        (fedecks, session)
    }

    /// Every open connection takes this much memory. Its socket is bigger than this test's.
    #[tokio::test]
    async fn the_future_of_a_session_is_small() {
        let (fedecks, session) = session(RejectAll).await;
        let socket = Socket::new(duplex(1).0, &[], 1000);
        let future = run(fedecks.0.clone(), session, socket);
        let size = size_of_val(&future) - size_of::<DuplexStream>();
        #[cfg(feature = "serve")]
        let size = size + size_of::<fedecks_edge::UpgradedSocket>();
        assert!(size <= 384, "{size} bytes");
    }

    #[tokio::test]
    async fn a_frame_above_the_sum_of_all_sessions_is_refused_at_its_head() {
        let (fedecks, session) = session(RejectAll).await;
        let (ours, mut device) = duplex(1024);
        let socket = Socket::new(ours, &[], fedecks.0.options.max_frame as usize);
        tokio::spawn(Task::new(run(fedecks.0.clone(), session, socket)));
        let length = fedecks.0.options.received_bytes as u64 + 1;
        let head = [&[0x82, 0x80 | 127][..], &length.to_be_bytes(), &[0; 4]].concat();
        device.write_all(&head).await.unwrap();
        let mut received = Vec::new();
        let closed = tokio::time::timeout(CLOSE_TIMEOUT, device.read_to_end(&mut received));
        closed.await.expect("it is not closed").unwrap();
        assert!(received.ends_with(&[0x88, 2, 0x03, 0xf1]), "{received:x?}");
    }

    /// The head and all but the last byte of a message of 100,000 bytes.
    fn unfinished() -> Vec<u8> {
        let mut message = frame(2, &[0; 100_000]);
        message.pop();
        message
    }

    /// Closes a session after the device has sent the first bytes, and returns once the close frame is there.
    async fn closed_after(first: &[u8]) -> (Fedecks<RejectAll>, DuplexStream) {
        let (fedecks, session) = session(RejectAll).await;
        let (ours, mut device) = duplex(1 << 20);
        let handle = session.connection.clone();
        let socket = Socket::new(ours, &[], fedecks.0.options.max_frame as usize);
        tokio::spawn(Task::new(run(fedecks.0.clone(), session, socket)));
        device.write_all(first).await.unwrap();
        if !first.is_empty() {
            while fedecks.0.traffic.incoming.used() == 0 {
                tokio::task::yield_now().await;
            }
        }
        handle.close(CloseCode::Replaced);
        let (code, mut received) = (CloseCode::Replaced.code().to_be_bytes(), Vec::new());
        while !received.windows(2).any(|bytes| bytes == code) {
            device.read_buf(&mut received).await.unwrap();
        }
        (fedecks, device)
    }

    #[tokio::test]
    async fn what_arrives_at_the_end_counts_until_the_close() {
        let (fedecks, mut device) = closed_after(&unfinished()).await;
        assert_eq!(fedecks.0.traffic.incoming.used(), 100_000 - FREE);
        device.write_all(&[&[0][..], &frame(8, &[])].concat()).await.unwrap();
        device.read_to_end(&mut Vec::new()).await.unwrap();
        while fedecks.0.traffic.incoming.used() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_message_that_begins_after_the_end_is_discarded() {
        let (fedecks, mut device) = closed_after(&[]).await;
        device.write_all(&unfinished()).await.unwrap();
        let mut rest = Vec::new();
        let half_closed = tokio::time::timeout(CLOSE_TIMEOUT / 2, device.read_to_end(&mut rest));
        assert_eq!(half_closed.await.expect("the message is awaited").unwrap(), 0);
        assert_eq!(fedecks.0.traffic.incoming.used(), 0);
    }

    /// Breaks the connection while it handles the first message, and records all messages.
    struct Breaker {
        peer: Mutex<Option<DuplexStream>>,
        received: Arc<Mutex<Vec<Term>>>,
    }

    impl Handler for Breaker {
        async fn authenticate(&self, _: Login<'_>) -> Decision {
            Decision::Reject
        }

        async fn on_message(&self, _: &Session, message: Term) -> Outcome {
            self.received.lock().push(message.clone());
            self.peer.lock().take();
            tokio::task::yield_now().await;
            // More than is buffered before it is sent.
            Outcome::send(&"x".repeat(100_000))
        }
    }

    #[tokio::test]
    async fn messages_read_before_a_failed_write_are_handled() {
        let message = |text: &str| {
            let up = UpFrame::Message { sequence: None, term: text.into() };
            frame(2, &Dialect::Bincode.encode_up(&up, &Limits::default()).unwrap())
        };
        let to_read =
            [message("first"), frame(9, b"ping"), message("second"), message("third")].concat();
        let (written, peer) = duplex(1 << 20);
        let received = Arc::<Mutex<Vec<Term>>>::default();
        let breaker = Breaker { peer: Mutex::new(Some(peer)), received: received.clone() };
        let (fedecks, session) = session(breaker).await;
        // With a real connection, the order in which the kernel reports the two cannot be controlled.
        let connection = tokio::io::join(Cursor::new(to_read), written);
        let socket = Socket::new(connection, &[], 1000);
        Task::new(run(fedecks.0.clone(), session, socket)).await;
        assert_eq!(*received.lock(), ["first", "second", "third"].map(Term::from));
    }
}
