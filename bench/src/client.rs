//! A WebSocket client that costs little, so that the server is what is measured.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fedecks_protocol::{
    AUTH_HEADER, DEFAULT_PATH, Dialect, DownFrame, Limits, REFUSAL_HEADER, Refusal, Term, UpFrame,
};
use fedecks_testing::wait::PATIENCE;
use futures_util::{SinkExt, StreamExt};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::error::{Error, Result};
use crate::server::Kind;
use crate::tickets::{HOST, TlsClient};

/// The number of loopback addresses that the clients connect from: each has ports for about 28,000
/// connections, including those just closed.
const SOURCES: usize = 32;

/// The payload of a message, in bytes.
const PAYLOAD: usize = 100;

/// How long a client that waits is silent, as devices are.
const SILENT: Duration = Duration::from_secs(19);

/// Where to connect to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsClient>,
}

/// One connection to a server. It fails on anything unexpected.
pub(crate) struct Client {
    kind: Kind,
    socket: WebSocketStream<Box<dyn Socket>>,
}

/// Why an attempt to connect failed.
#[derive(Debug)]
pub(crate) enum NotConnected {
    /// The server does not listen.
    NotListening,
    /// The connection was closed before the answer.
    CutOff,
    /// The cloud refused with one of its reasons.
    Refused(Refusal),
    /// Anything else, which must not happen.
    Failed(Error),
}

/// What a client hears next.
#[derive(Debug)]
pub(crate) enum Heard {
    Frame(DownFrame),
    Pong,
    /// The connection has ended, with the code of a close frame if there was one.
    End(Option<u16>),
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Client {
    /// Connects the `index`th client, and takes the Welcome if there is one. `auth` is the value of
    /// the header that our server expects.
    pub(crate) async fn connect(target: &Target, index: usize, auth: &str) -> Result<Self> {
        timeout(PATIENCE, Self::dial(target, index, auth))
            .await
            .map_err(|_| format!("client {index} was not connected in time"))?
            .map_err(|error| format!("client {index} could not connect: {error}").into())
    }

    /// Makes one attempt, without a deadline.
    pub(crate) async fn dial(
        target: &Target,
        index: usize,
        auth: &str,
    ) -> std::result::Result<Self, NotConnected> {
        let tcp = TcpSocket::new_v4()?;
        // A close leaves the port in TIME_WAIT; this lets the next run use it again.
        tcp.set_reuseaddr(true)?;
        tcp.set_nodelay(true)?;
        tcp.bind(SocketAddr::from((source(index)?, 0)))?;
        let tcp = tcp.connect(target.address).await?;
        let socket: Box<dyn Socket> = match &target.tls {
            None => Box::new(tcp),
            Some(tls) => Box::new(tls.connect(tcp).await?),
        };
        let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
        let request = request(target.kind, auth)?;
        let (socket, _) = client_async_with_config(request, socket, Some(config)).await?;
        let mut client = Self { kind: target.kind, socket };
        if target.kind == Kind::Fedecks {
            let first = client.socket.next().await.ok_or(NotConnected::CutOff)??;
            if !matches!(decode(&first)?, DownFrame::Welcome(_)) {
                return Err(Error::from(format!("expected a Welcome, got {first:?}")).into());
            }
        }
        Ok(client)
    }

    /// Sends a message and waits for its echo.
    pub(crate) async fn echo(&mut self) -> Result<()> {
        let payload = vec![b'x'; PAYLOAD];
        match self.kind {
            Kind::Fedecks => {
                let term = Term::Bytes(payload);
                let up = UpFrame::Message { sequence: None, term: term.clone() };
                let up = Dialect::Bincode.encode_up(&up, &Limits::default())?;
                self.send(Message::binary(up)).await?;
                let down = decode(&self.receive().await?)?;
                if down != (DownFrame::Message { sequence: None, term }) {
                    return Err(format!("the echo differs: {down:?}").into());
                }
            }
            _ => {
                self.send(Message::binary(payload.clone())).await?;
                if self.receive().await?.into_data() != payload {
                    return Err("the echo differs".into());
                }
            }
        }
        Ok(())
    }

    /// Sends a message that is not answered.
    pub(crate) async fn say(&mut self, term: Term) -> Result<()> {
        self.tell(&UpFrame::Message { sequence: None, term }).await?;
        Ok(())
    }

    /// Sends a frame, and returns its length.
    pub(crate) async fn tell(&mut self, frame: &UpFrame) -> Result<usize> {
        let frame = Dialect::Bincode.encode_up(frame, &Limits::default())?;
        let length = frame.len();
        self.send(Message::binary(frame)).await?;
        Ok(length)
    }

    /// The next frame from the cloud, and its length.
    pub(crate) async fn hear(&mut self) -> Result<(DownFrame, usize)> {
        let message = self.receive().await?;
        Ok((decode(&message)?, message.len()))
    }

    /// The next frame from the cloud, and its length, however long it takes. Pings meanwhile as a device does; a
    /// ping that is not answered before the next one is an error.
    pub(crate) async fn hear_in_time(&mut self) -> Result<(DownFrame, usize)> {
        let mut pings = 0;
        loop {
            match timeout(SILENT, self.socket.next()).await {
                Ok(Some(Ok(Message::Pong(_)))) => pings = 0,
                Ok(message) => {
                    let message = message.ok_or("the server closed the connection")??;
                    return Ok((decode(&message)?, message.len()));
                }
                Err(_) if pings > 0 => return Err("a ping was not answered in time".into()),
                Err(_) => {
                    pings += 1;
                    self.send(Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    /// What comes next, however long it takes. Nothing is lost if this is dropped before it is done.
    pub(crate) async fn next(&mut self) -> Result<Heard> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Pong(_))) => return Ok(Heard::Pong),
                Some(Ok(Message::Close(frame))) => {
                    return Ok(Heard::End(frame.map(|frame| frame.code.into())));
                }
                Some(Ok(message)) => return Ok(Heard::Frame(decode(&message)?)),
                None => return Ok(Heard::End(None)),
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Pings without waiting for the pong.
    pub(crate) async fn send_ping(&mut self) -> Result<()> {
        self.send(Message::Ping(Bytes::new())).await
    }

    /// Closes and waits until the server has closed too. What arrives meanwhile is ignored.
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.send(Message::Close(None)).await?;
        while !matches!(timeout(PATIENCE, self.next()).await??, Heard::End(_)) {}
        Ok(())
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(self) -> Result<()> {
        SockRef::from(self.socket.get_ref().tcp()).set_linger(Some(Duration::ZERO))?;
        Ok(())
    }

    /// The next message from the cloud, and when it arrived.
    pub(crate) async fn receive_message(&mut self) -> Result<(Term, Instant)> {
        let message = self.receive().await?;
        let at = Instant::now();
        match decode(&message)? {
            DownFrame::Message { term, .. } => Ok((term, at)),
            other => Err(format!("expected a message, got {other:?}").into()),
        }
    }

    /// Pings and waits for the pong.
    pub(crate) async fn ping(&mut self) -> Result<()> {
        let payload = Bytes::from_static(b"ping");
        self.send(Message::Ping(payload.clone())).await?;
        let answer = self.receive().await?;
        if answer != Message::Pong(payload) {
            return Err(format!("expected a pong, got {answer:?}").into());
        }
        Ok(())
    }

    /// Closes and waits until the server has closed too.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.send(Message::Close(None)).await?;
        let answer = self.receive().await?;
        if !answer.is_close() {
            return Err(format!("expected a close, got {answer:?}").into());
        }
        match timeout(PATIENCE, self.socket.next()).await? {
            None => Ok(()),
            // After the close frame a missing close_notify of TLS loses nothing.
            Some(Err(WsError::Io(error))) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(more)) => Err(format!("expected the end, got {more:?}").into()),
        }
    }

    /// Waits until the connection ends without a close, as after a server's SIGKILL.
    pub(crate) async fn lost(mut self) -> Result<()> {
        match timeout(PATIENCE, self.socket.next()).await? {
            None | Some(Err(WsError::Io(_) | WsError::Protocol(_) | WsError::ConnectionClosed)) => {
                Ok(())
            }
            Some(more) => Err(format!("expected the end of the connection, got {more:?}").into()),
        }
    }

    async fn send(&mut self, message: Message) -> Result<()> {
        Ok(timeout(PATIENCE, self.socket.send(message)).await??)
    }

    async fn receive(&mut self) -> Result<Message> {
        let message = timeout(PATIENCE, self.socket.next()).await?;
        Ok(message.ok_or("the server closed the connection")??)
    }
}

/// The address that the `index`th client connects from.
fn source(index: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::new(127, 0, 0, u8::try_from(2 + index % SOURCES)?))
}

fn request(kind: Kind, auth: &str) -> Result<Request> {
    let mut request = format!("ws://{HOST}{DEFAULT_PATH}").into_client_request()?;
    if kind == Kind::Fedecks {
        let headers = request.headers_mut();
        let dialect = Dialect::Bincode.subprotocol();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(dialect));
        headers.insert(AUTH_HEADER, HeaderValue::from_str(auth)?);
    }
    Ok(request)
}

fn decode(message: &Message) -> Result<DownFrame> {
    match message {
        Message::Binary(bytes) => Ok(Dialect::Bincode.decode_down(bytes, &Limits::default())?),
        _ => Err(format!("expected a frame, got {message:?}").into()),
    }
}

impl From<Error> for NotConnected {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for NotConnected {
    fn from(error: std::io::Error) -> Self {
        let cut_off = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
        if error.kind() == ErrorKind::ConnectionRefused {
            Self::NotListening
        } else if cut_off.contains(&error.kind()) {
            Self::CutOff
        } else {
            Self::Failed(error.into())
        }
    }
}

impl From<WsError> for NotConnected {
    fn from(error: WsError) -> Self {
        match error {
            WsError::Io(error) => error.into(),
            WsError::Protocol(
                ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake,
            )
            | WsError::ConnectionClosed => Self::CutOff,
            WsError::Http(answer) => {
                let reason = answer.headers().get(REFUSAL_HEADER);
                let reason = reason.and_then(|reason| reason.to_str().ok());
                match Refusal::from_response(answer.status().as_u16(), reason) {
                    Some(refusal) => Self::Refused(refusal),
                    None => Self::Failed(format!("answered {}", answer.status()).into()),
                }
            }
            other => Self::Failed(other.into()),
        }
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListening => f.write_str("the server does not listen"),
            Self::CutOff => f.write_str("cut off without an answer"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}
