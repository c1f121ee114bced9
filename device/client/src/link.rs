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
use crate::tls::VerifiedPeer;
use crate::transport::Transport;

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
    /// Bytes came or went that are no whole message yet, or a ping.
    Traffic,
    Pong,
    /// Everything written has left for the socket: the next message may come.
    Flushed,
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
    /// Writing has failed. What came before that is still to be read: the cloud may have said why.
    failed: Option<LostReason>,
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
                let event = loop {
                    if up.failed.is_some() {
                        // What came before may not have been noticed yet. It is when the runtime
                        // has looked after its sockets, and that it does meanwhile.
                        tokio::task::yield_now().await;
                    }
                    if let Some(event) = poll_fn(|context| up.poll(context)).await {
                        break event;
                    }
                };
                if let LinkEvent::Lost(_) = event {
                    *self = Self::Idle;
                }
                (attempt, event)
            }
        }
    }

    /// Hands a message to the socket. It leaves while `next` is awaited. False if writing has failed;
    /// `next` tells that when everything that came before is read.
    pub(crate) fn transmit(&mut self, message: Outgoing, device: &DeviceId) -> bool {
        let Self::Up(up) = self else { return false };
        up.unflushed = true;
        let message = match message {
            Outgoing::Frame(bytes) => Message::Binary(bytes.into()),
            Outgoing::Ping => {
                let id = device.as_str().as_bytes();
                Message::Ping(id[..id.len().min(MAX_PING)].to_vec().into())
            }
        };
        if let Err(error) = Pin::new(&mut up.socket).start_send(message) {
            up.failed = Some(lost(&error));
        }
        up.failed.is_none()
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
        Self { attempt, socket, peer, unflushed: false, seen: 0, failed: None }
    }

    /// The next event, or none when writing has failed just now.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        let mut flushed = false;
        if self.unflushed && self.failed.is_none() {
            match Pin::new(&mut self.socket).poll_flush(context) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    flushed = true;
                }
                Poll::Ready(Err(error)) => {
                    self.failed = Some(lost(&error));
                    return Poll::Ready(None);
                }
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
                Message::Pong(_) => LinkEvent::Pong,
                Message::Frame(_) => LinkEvent::Traffic,
                Message::Close(frame) => {
                    // The library has prepared the answer. There is nearly always room for it; to
                    // wait for some, nothing would be gained.
                    let _ = Pin::new(&mut self.socket).poll_flush(context);
                    let close = frame.map_or(CloseReason::new(CloseCode::Other(1005)), |frame| {
                        CloseReason::parse(frame.code.into(), &frame.reason)
                    });
                    LinkEvent::Lost(LostReason::Closed(close))
                }
            },
            Poll::Ready(Some(Err(error))) => {
                LinkEvent::Lost(self.failed.take().unwrap_or_else(|| lost(&error)))
            }
            Poll::Ready(None) => {
                LinkEvent::Lost(LostReason::Broken("the connection ended".to_owned()))
            }
            Poll::Pending => {
                if let Some(reason) = self.failed.take() {
                    return Poll::Ready(Some(LinkEvent::Lost(reason)));
                }
                let life = self.socket.get_ref().life();
                if life != self.seen {
                    self.seen = life;
                    LinkEvent::Traffic
                } else if flushed {
                    LinkEvent::Flushed
                } else {
                    return Poll::Pending;
                }
            }
        };
        Poll::Ready(Some(event))
    }
}

fn lost(error: &Error) -> LostReason {
    LostReason::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use fedecks_protocol::{Dialect, Limits};
    use futures_util::StreamExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;
    use tokio_tungstenite::accept_hdr_async;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

    use super::*;
    use crate::clock::WallClock;
    use crate::tls::{TlsOptions, TrustedTime};

    const PATIENCE: Duration = Duration::from_secs(30);

    type Cloud = WebSocketStream<TcpStream>;

    /// A link that is up, and its other end.
    async fn linked() -> (Link, Cloud) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
        let time = TrustedTime::new(WallClock::system(), Path::new("/nonexistent/fedecks"));
        let (tls, limits) = (TlsOptions::default(), Limits::default());
        let target = Target::new(url, &tls, time, Dialect::Bincode, &limits).unwrap();
        let mut link = Link::dial(Attempt(1), Arc::new(target), "c2VjcmV0".to_owned());
        let up = async {
            while !matches!(link.next().await.1, LinkEvent::Dialed(Ok(()))) {}
            link
        };
        let accept = async {
            #[expect(clippy::result_large_err, reason = "tungstenite's own signature")]
            let agree = |request: &Request, mut response: Response| {
                let name = "sec-websocket-protocol";
                response.headers_mut().insert(name, request.headers()[name].clone());
                Ok::<_, ErrorResponse>(response)
            };
            accept_hdr_async(listener.accept().await.unwrap().0, agree).await.unwrap()
        };
        timeout(PATIENCE, async { tokio::join!(up, accept) }).await.unwrap()
    }

    fn revoked() -> Message {
        Message::Close(Some(CloseFrame { code: 4401.into(), reason: Utf8Bytes::default() }))
    }

    /// How the link ends.
    async fn end_of(mut link: Link) -> LostReason {
        let end = async {
            loop {
                if let LinkEvent::Lost(reason) = link.next().await.1 {
                    return reason;
                }
            }
        };
        timeout(PATIENCE, end).await.unwrap()
    }

    #[tokio::test]
    async fn a_close_is_told_and_answered() {
        let (link, mut cloud) = linked().await;
        cloud.send(revoked()).await.unwrap();
        let reason = end_of(link).await;
        assert_eq!(reason, LostReason::Closed(CloseReason::new(CloseCode::Revoked)));
        let answer = timeout(PATIENCE, cloud.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer, revoked());
    }

    #[tokio::test]
    async fn what_the_cloud_said_last_is_told_although_nothing_can_be_written_any_more() {
        for outgoing in [Outgoing::Ping, Outgoing::Frame(vec![0; 100_000])] {
            let is_big = matches!(outgoing, Outgoing::Frame(_));
            let device = DeviceId::new("d").unwrap();
            let (mut link, mut cloud) = linked().await;
            // A message that the cloud leaves unread: the system answers its end with a reset.
            assert!(link.transmit(Outgoing::Frame(vec![1]), &device));
            let leaves = async { while !matches!(link.next().await.1, LinkEvent::Lost(_)) {} };
            tokio::select! {
                () = leaves => panic!("nobody has ended the link"),
                readable = cloud.get_ref().readable() => readable.unwrap(),
            }
            cloud.send(revoked()).await.unwrap();
            drop(cloud);

            // What does not fit the buffer is written at once.
            assert_eq!(link.transmit(outgoing, &device), !is_big);
            let reason = end_of(link).await;
            assert_eq!(reason, LostReason::Closed(CloseReason::new(CloseCode::Revoked)));
        }
    }
}
