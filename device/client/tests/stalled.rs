//! A cloud that does not read what the device sends.

#![allow(clippy::unwrap_used)] // Tests, helpers included.

use std::time::Duration;

use fedecks_device::{Client, Credentials, DeviceId};
use fedecks_protocol::{Dialect, DownFrame, IssuedToken, Limits, Token, Welcome};
use futures_util::SinkExt;
use futures_util::future::poll_immediate;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

const PATIENCE: Duration = Duration::from_secs(30);

/// A message that can be sent at all on this machine is sent within this time.
const A_WHILE: Duration = Duration::from_millis(300);

/// Accepts a device with any credentials, welcomes it and issues a token.
async fn welcome(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let agree = |request: &Request, mut response: Response| {
        let name = "sec-websocket-protocol";
        response.headers_mut().insert(name, request.headers()[name].clone());
        Ok::<_, ErrorResponse>(response)
    };
    let mut socket = accept_hdr_async(listener.accept().await.unwrap().0, agree).await.unwrap();
    let welcome = DownFrame::Welcome(Welcome {
        server_time_ms: 0,
        // No ping fails within this test.
        heartbeat: Duration::from_secs(300),
        idle_timeout: Duration::from_secs(600),
        max_frame: 1024 * 1024,
    });
    let token = Token::new("v4.local.abc").unwrap();
    let token = DownFrame::Token(IssuedToken { token, expires_at: 1_798_761_599 });
    for frame in [welcome, token] {
        let bytes = Dialect::Bincode.encode_down(&frame, &Limits::default()).unwrap();
        socket.send(Message::binary(bytes)).await.unwrap();
    }
    socket
}

fn credentials() -> Credentials {
    Credentials::new().with("username", "marvin")
}

#[tokio::test]
async fn a_stalled_message_delays_neither_login_nor_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let client = Client::builder(url, DeviceId::new("kitchen-1").unwrap())
        .data_dir(folder.path())
        .start()
        .unwrap();
    let mut first_login = Box::pin(client.login(credentials()));
    assert!(poll_immediate(&mut first_login).await.is_none());
    let _unread = timeout(PATIENCE, welcome(&listener)).await.unwrap();
    timeout(PATIENCE, first_login).await.unwrap().unwrap();

    // Until all buffers are full and the next message has to wait.
    let big = vec![0; 1_000_000];
    while timeout(A_WHILE, client.send_raw(&big)).await.is_ok() {}
    let mut waiting = Box::pin(client.send_raw(&big));
    assert!(poll_immediate(&mut waiting).await.is_none());
    let mut second_login = Box::pin(client.login(credentials()));
    assert!(poll_immediate(&mut second_login).await.is_none());
    let _welcomed = timeout(PATIENCE, welcome(&listener)).await.unwrap();

    timeout(PATIENCE, second_login).await.unwrap().unwrap();
    // It was sent before the new connection was established, or after.
    let _ = timeout(PATIENCE, waiting).await.unwrap();
    timeout(PATIENCE, client.shutdown()).await.unwrap();
}
