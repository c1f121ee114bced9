//! The current link: a connection attempt in progress, then its WebSocket. It reports events and
//! executes commands; it decides nothing.

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
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use crate::dial::{self, Probation, Target, Upgraded};
use crate::tls::VerifiedPeer;
use crate::tls::explain_late;
use crate::transport::Transport;

/// How long a closing handshake may take before the socket is dropped.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Maximum payload of a ping, in bytes (RFC 6455, section 5.5); a device id can be a little longer.
const MAX_PING: usize = 125;

/// An event on a link.
pub(crate) enum LinkEvent {
    Phase(Phase),
    Dialed(Result<(), DialError>),
    Binary(Bytes),
    Text(usize),
    /// A message is being transferred, in either direction, and not complete.
    Progress,
    Ping,
    Pong,
    /// Everything written has been flushed to the socket: the next message may be sent.
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
    /// Passed by the first message or close.
    probation: Option<Probation>,
    /// There may be written data that is not flushed to the socket yet.
    unflushed: bool,
    /// The transport's activity at the last poll.
    last_activity: u64,
    /// A write has failed. What was received before is still read: the cloud may have said why.
    write_error: Option<LostReason>,
}

impl Link {
    /// Begins an attempt.
    pub(crate) fn dial(attempt: Attempt, target: Arc<Target>, header: String) -> Self {
        // More capacity than there are phases: reporting never waits.
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

    /// Returns true if everything written has been flushed to the socket: the next message may be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::Idle | Self::Dialing(_) => true,
            Self::Up(up) => !up.unflushed,
        }
    }

    /// The peer that TLS has verified; none over plain `ws://`.
    pub(crate) fn peer(&self) -> Option<VerifiedPeer> {
        match self {
            Self::Idle | Self::Dialing(_) => None,
            Self::Up(up) => up.peer.clone(),
        }
    }

    /// Waits for the next event. Cancel safe.
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
                    if up.write_error.is_some() {
                        // The runtime may not know yet that there is data to read. Yielding lets it
                        // poll its sockets.
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

    /// Writes a message to the socket's buffer, which `next` flushes. Returns false if writing has
    /// failed; `next` reports the loss after everything received before has been read.
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
            up.write_error = Some(lost(&error));
        }
        up.write_error.is_none()
    }

    /// Ends the link. Returns the closing handshake as a future that ends within two seconds; anything
    /// but an open WebSocket ends immediately.
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
                    // The stream ends after the peer's close.
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
        let Upgraded { socket, peer, probation } = upgraded;
        Self {
            attempt,
            socket,
            peer,
            probation: Some(probation),
            unflushed: false,
            last_activity: 0,
            write_error: None,
        }
    }

    /// The next event, or `None` if a write has just failed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        let mut flushed = false;
        if self.unflushed && self.write_error.is_none() {
            match Pin::new(&mut self.socket).poll_flush(context) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    flushed = true;
                }
                Poll::Ready(Err(error)) => {
                    self.write_error = Some(lost(&error));
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
        }
        let received = Pin::new(&mut self.socket).poll_next(context);
        if let Poll::Ready(Some(Ok(_))) = received {
            // The bytes of a complete message do not belong to the next one.
            self.last_activity = self.socket.get_ref().activity();
        }
        if let Poll::Ready(Some(Ok(Message::Binary(_) | Message::Close(_)))) = received {
            if let Some(probation) = self.probation.take() {
                probation.pass();
            }
        }
        let event = match received {
            Poll::Ready(Some(Ok(message))) => match message {
                Message::Binary(bytes) => LinkEvent::Binary(bytes),
                Message::Text(text) => LinkEvent::Text(text.len()),
                // tungstenite has written the pong; the next poll flushes it.
                Message::Ping(_) => {
                    self.unflushed = true;
                    LinkEvent::Ping
                }
                Message::Pong(_) => LinkEvent::Pong,
                Message::Frame(_) => LinkEvent::Progress,
                Message::Close(frame) => {
                    // tungstenite has prepared the reply, which nearly always fits into the socket's
                    // buffer; waiting for room would gain nothing.
                    let _ = Pin::new(&mut self.socket).poll_flush(context);
                    let close = frame.map_or(CloseReason::new(CloseCode::Other(1005)), |frame| {
                        CloseReason::parse(frame.code.into(), &frame.reason)
                    });
                    LinkEvent::Lost(LostReason::Closed(close))
                }
            },
            Poll::Ready(Some(Err(error))) => {
                LinkEvent::Lost(self.write_error.take().unwrap_or_else(|| lost(&error)))
            }
            Poll::Ready(None) => {
                LinkEvent::Lost(LostReason::Broken("the connection ended".to_owned()))
            }
            Poll::Pending => {
                let activity = self.socket.get_ref().activity();
                if let Some(reason) = self.write_error.take() {
                    LinkEvent::Lost(reason)
                } else if activity != self.last_activity {
                    self.last_activity = activity;
                    LinkEvent::Progress
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
    LostReason::Broken(match error {
        Error::Io(error) => explain_late(error),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use fedecks_protocol::Limits;
    use futures_util::StreamExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::testing::{accept, target, within};

    /// A link that is up, and the cloud's end of it.
    async fn linked() -> (Link, WebSocketStream<TcpStream>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let target = target(&url, &Limits::default());
        let mut link = Link::dial(Attempt(1), Arc::new(target), "c2VjcmV0".to_owned());
        let up = async {
            while !matches!(link.next().await.1, LinkEvent::Dialed(Ok(()))) {}
            link
        };
        let accepted = async { accept(listener.accept().await.unwrap().0).await.0 };
        within(async { tokio::join!(up, accepted) }).await
    }

    fn revoked() -> Message {
        Message::Close(Some(CloseFrame { code: 4401.into(), reason: Utf8Bytes::default() }))
    }

    async fn assert_ends_as_revoked(mut link: Link) {
        let end = async {
            loop {
                if let LinkEvent::Lost(reason) = link.next().await.1 {
                    return reason;
                }
            }
        };
        assert_eq!(within(end).await, LostReason::Closed(CloseReason::new(CloseCode::Revoked)));
    }

    #[tokio::test]
    async fn a_close_is_reported_and_answered() {
        let (link, mut cloud) = linked().await;
        cloud.send(revoked()).await.unwrap();
        assert_ends_as_revoked(link).await;
        assert_eq!(within(cloud.next()).await.unwrap().unwrap(), revoked());
    }

    #[tokio::test]
    async fn the_last_message_is_reported_even_if_writing_fails() {
        for outgoing in [Outgoing::Ping, Outgoing::Frame(vec![0; 100_000])] {
            let is_big = matches!(outgoing, Outgoing::Frame(_));
            let device = DeviceId::new("d").unwrap();
            let (mut link, mut cloud) = linked().await;
            // A message that the cloud leaves unread: the system resets the connection at its end.
            assert!(link.transmit(Outgoing::Frame(vec![1]), &device));
            let lost = async { while !matches!(link.next().await.1, LinkEvent::Lost(_)) {} };
            tokio::select! {
                () = lost => panic!("the link ended by itself"),
                readable = cloud.get_ref().readable() => readable.unwrap(),
            }
            cloud.send(revoked()).await.unwrap();
            drop(cloud);

            // A message that exceeds the buffer is written immediately.
            assert_eq!(link.transmit(outgoing, &device), !is_big);
            assert_ends_as_revoked(link).await;
        }
    }
}
