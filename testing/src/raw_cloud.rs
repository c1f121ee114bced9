//! A cloud that is a bare WebSocket: it accepts any device, and sends whatever a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use fedecks_protocol::{Dialect, DownFrame, IssuedToken, Limits, Token, Welcome};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::wait::within;

/// Listens on a free port.
pub struct RawCloud {
    listener: TcpListener,
    /// Where devices connect to.
    pub address: SocketAddr,
}

/// The connection of a device, which has received its Welcome and a token. Pings are answered.
pub struct RawSession {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    reader: JoinHandle<()>,
}

impl RawCloud {
    /// Starts to listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// Accepts the next device, whatever it authenticates with.
    pub async fn accept(&self) -> RawSession {
        #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
        let agree = |request: &Request, mut response: Response| {
            let name = "sec-websocket-protocol";
            response.headers_mut().insert(name, request.headers()[name].clone());
            Ok::<_, ErrorResponse>(response)
        };
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let socket = within(accept_hdr_async(stream, agree)).await.unwrap();
        let (sink, mut stream) = socket.split();
        let reader = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
        let mut session = RawSession { sink, reader };
        let welcome = DownFrame::Welcome(Welcome {
            server_time_ms: 0,
            heartbeat: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(600),
            max_frame: 1024 * 1024,
            delivery: None,
        });
        let token = Token::new("v4.local.abc").unwrap();
        let token = DownFrame::Token(IssuedToken { token, expires_at: 1_798_761_599 });
        for frame in [welcome, token] {
            session.send(Dialect::Bincode.encode_down(&frame, &Limits::default()).unwrap()).await;
        }
        session
    }
}

impl RawSession {
    /// Sends a binary message.
    pub async fn send(&mut self, bytes: impl Into<Vec<u8>>) {
        within(self.sink.send(Message::binary(bytes.into()))).await.unwrap();
    }
}

impl Drop for RawSession {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
