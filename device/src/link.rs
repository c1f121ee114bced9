//! The one link that exists at a time: an attempt under way, then its WebSocket. It reports what
//! happens and is told what to do; it decides nothing.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fedecks_device_core::{Attempt, DialError, LostReason, Outgoing, Phase};
use fedecks_protocol::{CloseCode, CloseReason, DeviceId};
use futures_util::{Sink, SinkExt, Stream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::dial::{self, Target, Upgraded};
use crate::transport::Transport;
use crate::verify::VerifiedPeer;

/// How long a close may take before the socket is let go of all the same.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// What a ping may carry, in bytes (RFC 6455, section 5.5); a device id can be a little longer.
const MAX_PING: usize = 125;

/// What happened on a link.
pub(crate) enum LinkEvent {
    Phase(Phase),
    Dialed(Result<(), DialError>),
    Binary(Vec<u8>),
    Text(usize),
    /// Bytes came or went that are no whole message yet, or a ping or a pong.
    Traffic,
    Lost(LostReason),
}

pub(crate) enum Link {
    Idle,
    Dialing(Dialing),
    Up(Box<Up>),
}

pub(crate) struct Dialing {
    attempt: Attempt,
    phases: mpsc::Receiver<Phase>,
    outcome: Pin<Box<dyn Future<Output = Result<Upgraded, dial::DialError>> + Send>>,
}

pub(crate) struct Up {
    attempt: Attempt,
    socket: WebSocketStream<Transport>,
    peer: Option<VerifiedPeer>,
    /// Something was written that the socket has not taken yet.
    unflushed: bool,
    /// The transport's count of life when it was last looked.
    seen: u64,
}

impl Link {
    /// Begins an attempt. Whatever link there was is dropped.
    pub(crate) fn dial(attempt: Attempt, target: Arc<Target>, header: String) -> Self {
        // One place for each phase: reporting never waits.
        let (report, phases) = mpsc::channel(8);
        let on_phase = move |phase| {
            let _ = report.try_send(phase);
        };
        let outcome = Box::pin(async move { dial::dial(&target, header, on_phase).await });
        Self::Dialing(Dialing { attempt, phases, outcome })
    }

    /// The attempt that the link belongs to.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Idle => None,
            Self::Dialing(dialing) => Some(dialing.attempt),
            Self::Up(up) => Some(up.attempt),
        }
    }

    /// Whether everything written so far has left for the socket: the next message may come.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::Idle | Self::Dialing(_) => true,
            Self::Up(up) => !up.unflushed,
        }
    }

    /// The cloud as TLS has verified it; none over plain `ws://`.
    pub(crate) fn peer(&self) -> Option<VerifiedPeer> {
        match self {
            Self::Idle | Self::Dialing(_) => None,
            Self::Up(up) => up.peer.clone(),
        }
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> (Attempt, LinkEvent) {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Dialing(dialing) => {
                let attempt = dialing.attempt;
                let event = tokio::select! {
                    biased;
                    Some(phase) = dialing.phases.recv() => return (attempt, LinkEvent::Phase(phase)),
                    outcome = &mut dialing.outcome => outcome,
                };
                match event {
                    Ok(upgraded) => {
                        *self = Self::Up(Box::new(Up::new(attempt, upgraded)));
                        (attempt, LinkEvent::Dialed(Ok(())))
                    }
                    Err(error) => {
                        *self = Self::Idle;
                        (attempt, LinkEvent::Dialed(Err(error.into())))
                    }
                }
            }
            Self::Up(up) => {
                let attempt = up.attempt;
                let event = poll_fn(|context| up.poll(context)).await;
                if let LinkEvent::Lost(_) = event {
                    *self = Self::Idle;
                }
                (attempt, event)
            }
        }
    }

    /// Hands a message to the socket. It leaves while `next` is awaited.
    pub(crate) fn transmit(
        &mut self,
        message: Outgoing,
        device: &DeviceId,
    ) -> Result<(), LostReason> {
        let Self::Up(up) = self else { return Ok(()) };
        up.unflushed = true;
        let message = match message {
            Outgoing::Frame(bytes) => Message::Binary(bytes.into()),
            Outgoing::Ping => {
                let id = device.as_str().as_bytes();
                Message::Ping(id[..id.len().min(MAX_PING)].to_vec().into())
            }
        };
        Pin::new(&mut up.socket).start_send(message).map_err(|error| lost(&error))
    }

    /// Ends the link. What it takes to close a WebSocket politely is returned as a future that ends
    /// within two seconds; everything else is over at once.
    pub(crate) fn disconnect(
        &mut self,
        code: CloseCode,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let Self::Up(up) = std::mem::replace(self, Self::Idle) else { return None };
        let mut socket = up.socket;
        Some(async move {
            let frame = CloseFrame { code: code.code().into(), reason: Utf8Bytes::default() };
            let _ = tokio::time::timeout(CLOSE_DEADLINE, async {
                if socket.send(Message::Close(Some(frame))).await.is_ok() {
                    // The other end answers with its own close, after which the stream ends.
                    while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut socket).poll_next(cx)).await
                    {
                    }
                }
            })
            .await;
        })
    }
}

impl Up {
    fn new(attempt: Attempt, upgraded: Upgraded) -> Self {
        let Upgraded { socket, peer } = upgraded;
        Self { attempt, socket, peer, unflushed: false, seen: 0 }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<LinkEvent> {
        if self.unflushed {
            match Pin::new(&mut self.socket).poll_flush(context) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(LinkEvent::Lost(lost(&error))),
                Poll::Pending => {}
            }
        }
        let event = match Pin::new(&mut self.socket).poll_next(context) {
            Poll::Ready(Some(Ok(message))) => match message {
                Message::Binary(bytes) => LinkEvent::Binary(bytes.into()),
                Message::Text(text) => LinkEvent::Text(text.len()),
                // The answer to a ping is written by the library and flushed by the next poll.
                Message::Ping(_) => {
                    self.unflushed = true;
                    LinkEvent::Traffic
                }
                Message::Pong(_) | Message::Frame(_) => LinkEvent::Traffic,
                Message::Close(frame) => {
                    let close = frame.map_or(CloseReason::new(CloseCode::Other(1005)), |frame| {
                        CloseReason::parse(frame.code.into(), &frame.reason)
                    });
                    LinkEvent::Lost(LostReason::Closed(close))
                }
            },
            Poll::Ready(Some(Err(error))) => LinkEvent::Lost(lost(&error)),
            Poll::Ready(None) => {
                LinkEvent::Lost(LostReason::Broken("the connection ended".to_owned()))
            }
            Poll::Pending => {
                let life = self.socket.get_ref().life();
                if life == self.seen {
                    return Poll::Pending;
                }
                self.seen = life;
                LinkEvent::Traffic
            }
        };
        Poll::Ready(event)
    }
}

fn lost(error: &Error) -> LostReason {
    LostReason::Broken(error.to_string())
}
