//! A device that is a bare WebSocket: it sends what a test wants and checks all that comes.

use std::net::SocketAddr;

use fedecks_cloud::auth::Claims;
use fedecks_protocol::{
    AUTH_HEADER, AuthRequest, CloseReason, DEFAULT_PATH, DeviceId, Dialect, DownFrame, Limits,
    Proof, REFUSAL_HEADER, Term, Token, UpFrame, Welcome,
};
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::cloud::keyring;
use crate::device::credentials;
use crate::wait::within;
use crate::{PASSWORD, USER};
use fedecks_cloud::store::unix_now;

const LIMITS: Limits =
    Limits { max_size: Limits::MAX_SIZE, max_depth: Limits::MAX_DEPTH, max_decoded: usize::MAX };

/// The header that asks for the dialect.
pub const SUBPROTOCOL: (&str, &str) = ("sec-websocket-protocol", "fedecks.v1.bincode");

/// A bare WebSocket.
#[derive(Debug)]
pub struct RawDevice<S = TcpStream> {
    /// For what this type does not do.
    pub ws: WebSocketStream<S>,
}

/// A refused upgrade.
#[derive(Debug)]
pub struct Refused {
    /// Of HTTP.
    pub status: u16,
    /// What the cloud gave as its reason.
    pub reason: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
}

impl RawDevice {
    /// Connects by `proof`; the first frame is still to be read.
    pub async fn dial(address: SocketAddr, id: &str, proof: Proof) -> Result<Self, Refused> {
        let header = auth_header(id, proof);
        Self::dial_with(address, &[(AUTH_HEADER, &header), SUBPROTOCOL]).await
    }

    /// Connects with these headers alone.
    pub async fn dial_with(
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        let stream = TcpStream::connect(address).await.unwrap();
        match Self::upgrade(stream, headers).await {
            Ok(device) => Ok(device),
            Err(Error::Http(response)) => {
                let headers = response.headers().clone();
                let reason = headers.get(REFUSAL_HEADER);
                let reason = reason.map(|reason| reason.to_str().unwrap().to_owned());
                Err(Refused { status: response.status().as_u16(), reason, headers })
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Connects with [`USER`] and [`PASSWORD`], and takes the Welcome and the token.
    pub async fn login(address: SocketAddr, id: &str) -> Self {
        let proof = Proof::Credentials(credentials(USER, PASSWORD));
        let mut device = Self::dial(address, id, proof).await.unwrap();
        device.welcome().await;
        assert!(matches!(device.frame().await, DownFrame::Token(_)));
        device
    }

    /// Connects by a token that is not due for a refresh, and takes the Welcome.
    pub async fn connect(address: SocketAddr, id: &str) -> Self {
        let mut device = Self::dial(address, id, fresh_token(id)).await.unwrap();
        device.welcome().await;
        device
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawDevice<S> {
    /// Asks for the WebSocket on a connection.
    pub async fn upgrade(stream: S, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let mut request = format!("ws://localhost{DEFAULT_PATH}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (ws, _) = within(Box::pin(client_async(request, stream))).await?;
        Ok(Self { ws })
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &UpFrame) {
        self.send_bytes(Dialect::Bincode.encode_up(frame, &LIMITS).unwrap()).await;
    }

    /// Sends a binary message.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        within(self.ws.send(Message::binary(bytes))).await.unwrap();
    }

    /// Sends a message without a sequence number.
    pub async fn say(&mut self, term: impl Into<Term>) {
        self.send(&UpFrame::Message { sequence: None, term: term.into() }).await;
    }

    /// Sends a ping and takes the pong.
    pub async fn ping(&mut self) {
        within(self.ws.send(Message::Ping("?".into()))).await.unwrap();
        assert_eq!(self.message().await, Message::Pong("?".into()));
    }

    /// The next WebSocket message.
    pub async fn message(&mut self) -> Message {
        within(self.ws.next()).await.expect("the connection has ended").unwrap()
    }

    /// The next frame; any other WebSocket message is a failure.
    pub async fn frame(&mut self) -> DownFrame {
        let message = self.message().await;
        let Message::Binary(bytes) = message else { panic!("expected a frame: {message:?}") };
        Dialect::Bincode.decode_down(&bytes, &LIMITS).unwrap()
    }

    /// The next message; any other frame is a failure.
    pub async fn receive(&mut self) -> Term {
        let frame = self.frame().await;
        let DownFrame::Message { sequence: None, term } = frame else {
            panic!("expected a message: {frame:?}")
        };
        term
    }

    /// The Welcome; any other frame is a failure.
    pub async fn welcome(&mut self) -> Welcome {
        let frame = self.frame().await;
        let DownFrame::Welcome(welcome) = frame else { panic!("expected Welcome: {frame:?}") };
        welcome
    }

    /// The reason of the close frame, after any other messages. The library answers it.
    pub async fn closed(&mut self) -> CloseReason {
        loop {
            if let Message::Close(frame) = self.message().await {
                let frame = frame.expect("a code");
                return CloseReason::parse(frame.code.into(), &frame.reason);
            }
        }
    }

    /// Reads to the end of the connection, which completes the close handshake.
    pub async fn ended(&mut self) {
        within(async { while let Some(Ok(_)) = self.ws.next().await {} }).await;
    }
}

/// The value of `x-fedecks-auth`.
pub fn auth_header(id: &str, proof: Proof) -> String {
    let device_id = DeviceId::new(id).unwrap();
    AuthRequest { device_id, proof }.to_header(Dialect::Bincode).unwrap()
}

/// A token of [`keyring`] with these claims, in seconds since 1970.
pub fn token(device: &str, issued_at: u64, expires_at: u64, generation: u64) -> Token {
    let device = DeviceId::new(device).unwrap();
    keyring().seal(&Claims { device, issued_at, expires_at, generation }).token
}

/// A token that was issued now.
pub fn fresh_token(device: &str) -> Proof {
    Proof::Token(token(device, unix_now(), unix_now() + 3600, 0))
}
