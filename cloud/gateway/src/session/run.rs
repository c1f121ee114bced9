//! The whole of a session: how it begins, runs and closes its connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fedecks_protocol::CloseCode;
use fedecks_store::unix_now;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tracing::Instrument;

use super::Session;
use super::driver::Driver;
use super::end::{End, Farewell};
use super::error::SessionError;
use crate::auth::device::AuthenticatedDevice;
use crate::connection::mailbox::Item;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::websocket::socket::{Incoming, Socket};

/// How long the last frames and the close handshake may take together.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Begins the session of a device in a task of its own.
pub(crate) async fn begin<H, S>(
    context: Arc<GatewayContext<H>>,
    device: AuthenticatedDevice,
    socket: Socket<S>,
) where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let session = Session::enter(context.hub.clone(), device).await;
    let span = tracing::info_span!(
        parent: None,
        "session",
        device = %session.device(),
        connection = %session.connection()
    );
    tokio::spawn(run(context, session, socket).instrument(span));
}

/// The whole of a session, from its first frame to the end of its connection.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn would keep room for its arguments twice for as long as it runs"
)]
fn run<H, S>(
    context: Arc<GatewayContext<H>>,
    session: Session,
    mut socket: Socket<S>,
) -> impl Future<Output = ()> + Send
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async move {
        let mut farewell = Farewell::new(context.clone(), session.connected().presence.clone());
        arrive(&context, &session);
        let mut timer = pin!(tokio::time::sleep(context.options.idle_timeout));
        let end = {
            let mut driver = Driver::new(&context, &session, &mut socket, timer.as_mut());
            match driver.work().await {
                Ok(never) => match never {},
                Err(end) => end,
            }
        };
        end.log();
        end.count(context.hub.counters());
        if let Some(store) = &context.store {
            store.seen(session.device(), session.connected().generation, unix_now());
        }
        say_last(&session, &mut socket, &end);
        // From here on the device counts as gone.
        drop(session);
        farewell.say(&end);
        close(&mut socket, timer, &end).await;
    }
}

fn arrive<H: Handler>(context: &GatewayContext<H>, session: &Session) {
    tracing::info!(peer = ?session.peer(), by = ?session.authenticated_by(), "connected");
    // Now that the session can be found: a revocation or a block since the device was let in has not
    // found it.
    let known = context.denylist.known(session.device());
    if session.connected().generation < known.generation {
        session.connected().close(CloseCode::Revoked);
    }
    if known.blocked {
        session.connected().close(CloseCode::Blocked);
    }
    if let Some(store) = &context.store {
        store.seen(session.device(), session.connected().generation, unix_now());
    }
}

/// Puts into the buffer what waits for a device whose session ends orderly, and the close frame.
fn say_last<S: AsyncRead + AsyncWrite + Unpin>(
    session: &Session,
    socket: &mut Socket<S>,
    end: &End,
) {
    let waiting = session.connected().mailbox.close();
    match end {
        End::ByCloud(_) => {
            for item in waiting {
                if let Item::Frame(frame) = item {
                    socket.send(&frame);
                }
            }
        }
        End::ByDevice(_) | End::Failed(_) => {}
    }
    if let Some(reason) = end.close_reason() {
        socket.close(reason);
    }
}

/// Sends what is in the buffer and waits for the device's side of the close, both in bounded time.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<S>,
    mut timer: Pin<&mut Sleep>,
    end: &End,
) {
    if matches!(end, End::Failed(SessionError::Lost(_))) {
        return;
    }
    timer.as_mut().reset(Instant::now() + CLOSE_PATIENCE);
    let mut closing = Closing::Flush;
    poll_fn(|cx| {
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        closing.poll(socket, end, cx)
    })
    .await;
}

/// How far the end of a connection is.
enum Closing {
    /// The close frame is on its way.
    Flush,
    /// The device's close frame is waited for.
    Answer,
    /// Our half of the connection ends.
    Shutdown,
    /// The device's half is read to its end.
    Discard,
}

impl Closing {
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        end: &End,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            *self = match self {
                Self::Flush => match ready!(socket.poll_flush(cx)) {
                    Ok(()) if end.close_reason().is_some() && end.is_intelligible() => Self::Answer,
                    Ok(()) => Self::Shutdown,
                    Err(_) => return Poll::Ready(()),
                },
                Self::Answer => match ready!(socket.poll_read(cx)) {
                    Ok(Incoming::Close(_)) => Self::Shutdown,
                    Ok(Incoming::Frame(_) | Incoming::Text | Incoming::Heartbeat) => Self::Answer,
                    Err(SessionError::Lost(_)) => return Poll::Ready(()),
                    Err(_) => Self::Shutdown,
                },
                Self::Shutdown => match ready!(socket.poll_shutdown(cx)) {
                    Ok(()) if end.is_intelligible() => return Poll::Ready(()),
                    Ok(()) => Self::Discard,
                    Err(_) => return Poll::Ready(()),
                },
                Self::Discard => return socket.poll_discard(cx),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use fedecks_protocol::{DeviceId, Dialect, Limits, Term, UpFrame};
    use tokio::io::ReadBuf;

    use super::*;
    use crate::handler::{Decision, Login, Outcome};
    use crate::{Denylist, Fedecks, Keyring};
    use fedecks_store::SqliteStore;

    struct Nobody;

    impl Handler for Nobody {
        async fn authenticate(&self, _: Login<'_>) -> Decision {
            Decision::Reject
        }
    }

    async fn session<H: Handler>(handler: H) -> (Fedecks<H>, Session) {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let keyring = Keyring::new(&"x".repeat(32), &"y".repeat(8)).unwrap();
        let fedecks = Fedecks::builder(handler)
            .keyring(keyring)
            .denylist(Denylist::load(store).await.unwrap())
            .build()
            .unwrap();
        let device = AuthenticatedDevice::of_a_test(DeviceId::new("a").unwrap());
        let session = Session::enter(fedecks.hub(), device).await;
        (fedecks, session)
    }

    /// Every connection takes this much for as long as it is open.
    #[tokio::test]
    async fn the_future_of_a_session_is_small() {
        let (fedecks, session) = session(Nobody).await;
        let socket = Socket::new(tokio::io::duplex(1).0, &[], 1000);
        let future = run(fedecks.0.clone(), session, socket);
        assert!(size_of_val(&future) <= 864, "{} bytes", size_of_val(&future));
    }

    /// A connection that has something to read, and on which writing fails from some moment on. Which
    /// of the two the kernel tells first cannot be arranged on a real one.
    struct Breaking {
        to_read: Vec<u8>,
        broken: Arc<AtomicBool>,
    }

    impl AsyncRead for Breaking {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let fits = buffer.remaining().min(self.to_read.len());
            buffer.put_slice(&self.to_read[..fits]);
            self.to_read.drain(..fits);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Breaking {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let broken = self.broken.load(Ordering::Relaxed);
            Poll::Ready(if broken {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(bytes.len())
            })
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Breaks the connection while the first message is handled, and notes all of them.
    struct Breaker {
        broken: Arc<AtomicBool>,
        heard: Arc<Mutex<Vec<Term>>>,
    }

    impl Handler for Breaker {
        async fn authenticate(&self, _: Login<'_>) -> Decision {
            Decision::Reject
        }

        async fn handle_in(&self, _: &Session, message: Term) -> Outcome {
            self.heard.lock().unwrap().push(message.clone());
            self.broken.store(true, Ordering::Relaxed);
            tokio::task::yield_now().await;
            // More than what is gathered before it is sent.
            Outcome::send("x".repeat(100_000))
        }
    }

    #[tokio::test]
    async fn what_was_read_before_writing_fails_is_handled() {
        let frame = |opcode: u8, payload: &[u8]| {
            let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap()];
            frame.extend([0; 4]);
            frame.extend(payload);
            frame
        };
        let says = |text: &str| {
            let up = UpFrame::Message { sequence: None, term: text.into() };
            frame(2, &Dialect::Bincode.encode_up(&up, &Limits::default()).unwrap())
        };
        let to_read = [says("first"), frame(9, b"ping"), says("second"), says("third")].concat();
        let (broken, heard) = (Arc::default(), Arc::<Mutex<Vec<Term>>>::default());
        let breaking = Breaking { to_read, broken: Arc::clone(&broken) };
        let (fedecks, session) = session(Breaker { broken, heard: heard.clone() }).await;
        run(fedecks.0.clone(), session, Socket::new(breaking, &[], 1000)).await;
        let all: Vec<Term> = ["first", "second", "third"].map(Term::from).to_vec();
        assert_eq!(*heard.lock().unwrap(), all);
    }
}
