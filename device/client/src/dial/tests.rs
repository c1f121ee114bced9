//! Attempts at clouds that behave, and at others.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedecks_device_core as core;
use fedecks_protocol::{AUTH_HEADER, Refusal};
use futures_util::{SinkExt, StreamExt};
use rustls::ServerConfig;
use rustls::crypto::ring;
use tempfile::tempdir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{
    ErrorResponse, Request as ServerRequest, Response as ServerResponse,
};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;

use super::*;
use crate::clock::WallClock;
use crate::tls::Trust;
use crate::tls::trusted_time::testing::{first, trusted_time};
use crate::tls::verifier::testing::Authority;

const PATIENCE: Duration = Duration::from_secs(30);
const AUTH: &str = "c2VjcmV0";

fn target(url: &str, limits: &Limits) -> Target {
    let time = TrustedTime::new(WallClock::system(), Path::new("/nonexistent/fedecks"));
    let url = url.parse().unwrap();
    Target::new(url, &TlsOptions::default(), time, Dialect::Bincode, limits).unwrap()
}

/// Dials and notes the phases.
async fn dial_noting(target: &Target) -> (Result<Upgraded, DialError>, Vec<Phase>) {
    let mut phases = Vec::new();
    let dialing = Box::pin(dial(target, AUTH.to_owned(), |phase| phases.push(phase)));
    let result = timeout(PATIENCE, dialing).await.unwrap();
    (result, phases)
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// What a device makes of a server that reads its request and answers with these bytes.
async fn answered(answer: &str) -> DialError {
    let (listener, port) = listen().await;
    let answer = answer.to_owned();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let target = target(&format!("ws://127.0.0.1:{port}"), &Limits::default());
    let (result, phases) = dial_noting(&target).await;
    assert_eq!(phases, [Phase::Resolve, Phase::Tcp, Phase::Upgrade]);
    server.await.unwrap();
    result.unwrap_err()
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A cloud that accepts one upgrade and echoes messages.
fn echo<S>(stream: S) -> JoinHandle<ServerRequest>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let asked = Arc::new(Mutex::new(None));
        let kept = asked.clone();
        #[expect(clippy::result_large_err, reason = "tungstenite's own signature")]
        let accept = move |request: &ServerRequest, mut response: ServerResponse| {
            *kept.lock().unwrap() = Some(request.clone());
            let dialect = request.headers()[SEC_WEBSOCKET_PROTOCOL].clone();
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, dialect);
            Ok::<_, ErrorResponse>(response)
        };
        let mut socket = accept_hdr_async(stream, accept).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
        asked.lock().unwrap().take().unwrap()
    })
}

async fn say_and_hear(mut socket: WebSocketStream<Transport>) {
    let before = socket.get_ref().life();
    socket.send(Message::binary(vec![7; 100_000])).await.unwrap();
    let heard = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(heard, Message::binary(vec![7; 100_000]));
    assert!(socket.get_ref().life() >= before + 100_000);
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test]
async fn an_upgrade_asks_as_the_protocol_says_and_gives_a_websocket() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        echo(stream).await.unwrap()
    });
    let target = target(&format!("ws://localhost:{port}/devices/here"), &Limits::default());
    let (upgraded, phases) = dial_noting(&target).await;
    assert_eq!(phases, [Phase::Resolve, Phase::Tcp, Phase::Upgrade]);
    let upgraded = upgraded.unwrap();
    assert!(upgraded.peer.is_none());
    say_and_hear(upgraded.socket).await;

    let request = server.await.unwrap();
    assert_eq!(request.uri(), "/devices/here");
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("host"), format!("localhost:{port}"));
    assert_eq!(header("x-fedecks-auth"), AUTH);
    assert_eq!(header("sec-websocket-protocol"), "fedecks.v1.bincode");
}

#[tokio::test]
async fn over_tls_the_peer_is_verified_and_known() {
    let folder = tempdir().unwrap();
    let authority = Authority::new();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.root_pem()).unwrap();
    let (chain, key) = authority.issue("localhost", first(2026, 1), first(2027, 1));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        echo(stream).await.unwrap()
    });

    let time = trusted_time(first(2025, 6), first(2025, 7), folder.path());
    let options = TlsOptions { trust: Trust::Only(ca), identity: None };
    let url = format!("wss://localhost:{port}").parse().unwrap();
    let target =
        Target::new(url, &options, time.clone(), Dialect::Bincode, &Limits::default()).unwrap();
    let (upgraded, phases) = dial_noting(&target).await;
    assert_eq!(phases, [Phase::Resolve, Phase::Tcp, Phase::Tls, Phase::Upgrade]);
    let upgraded = upgraded.unwrap();
    let peer = upgraded.peer.unwrap();
    assert!(time.observe(first(2026, 5).as_secs() * 1_000, |at| peer.latest_valid(at)));
    say_and_hear(upgraded.socket).await;
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_said_to_be_one() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // The device may close at once, with something of ours unread.
        let _ = stream.read_to_end(&mut rest).await;
    });
    let target = target(&format!("wss://127.0.0.1:{port}"), &Limits::default());
    let (result, phases) = dial_noting(&target).await;
    assert_eq!(phases, [Phase::Resolve, Phase::Tcp, Phase::Tls]);
    let error = result.unwrap_err();
    assert!(matches!(error, DialError::Tls { .. }), "{error:?}");
    assert!(error.to_string().starts_with("no TLS with 127.0.0.1: "), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_ours_is_told_with_its_delay() {
    for (delay, retry_after) in [
        ("", None),
        ("Retry-After: 120\r\n", Some(Duration::from_secs(120))),
        ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", None),
        ("Retry-After: -1\r\n", None),
    ] {
        let error = answered(&format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Fedecks\r\n\
             X-Fedecks-Refusal: token-revoked\r\n{delay}Content-Length: 0\r\n\r\n"
        ))
        .await;
        let refusal = Refusal::TokenRevoked;
        assert_eq!(
            core::DialError::from(error),
            core::DialError::Refused { refusal, retry_after },
            "{delay}"
        );
    }
}

#[tokio::test]
async fn every_refusal_of_ours_is_known() {
    for refusal in Refusal::ALL {
        let (status, reason) = (refusal.status(), refusal.reason());
        let answer = format!("HTTP/1.1 {status} No\r\nx-fedecks-refusal: {reason}\r\n\r\n");
        let error = answered(&answer).await;
        assert!(
            matches!(error, DialError::Refused { refusal: told, .. } if told == refusal),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn the_answers_of_portals_and_proxies_are_no_refusals() {
    let page = "<html><title>Welcome to the hotel</title></html>";
    for (status, rest) in [
        (200, format!("Content-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len())),
        (302, "Location: http://portal.hotel.test/login\r\nContent-Length: 0\r\n\r\n".into()),
        (401, "WWW-Authenticate: Basic realm=\"proxy\"\r\n\r\naccess denied".into()),
        (403, format!("\r\n{page}")),
        (407, "Proxy-Authenticate: Basic\r\n\r\n".into()),
        (502, "\r\n".into()),
        // Ours in part only.
        (403, "x-fedecks-refusal: token-revoked\r\n\r\n".into()),
        (401, "x-fedecks-refusal: something-newer\r\n\r\n".into()),
        (401, "WWW-Authenticate: Fedecks\r\n\r\n".into()),
    ] {
        let error = answered(&format!("HTTP/1.1 {status} Whatever\r\n{rest}")).await;
        assert!(matches!(error, DialError::Http { status: told } if told == status), "{error:?}");
        assert!(matches!(core::DialError::from(error), core::DialError::Unreachable(_)));
    }
}

#[tokio::test]
async fn what_is_no_answer_to_an_upgrade_is_said_to_be_none() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\n";
    for (answer, told) in [
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "httparse error"),
        (String::new(), "the connection ended before the answer"),
        ("HTTP/1.1 101 Switching".to_owned(), "the connection ended before the answer"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), "No \"Upgrade: websocket\""),
        (format!("{switching}Sec-WebSocket-Accept: bm8=\r\n\r\n"), "Key mismatch"),
        (
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
            "the head of the answer is too long or comes in crumbs",
        ),
    ] {
        let error = answered_with_loss(&answer).await;
        let DialError::Upgrade(problem) = &error else { panic!("{error:?}") };
        assert!(problem.contains(told), "{problem}");
    }
}

/// As [`answered`], but the device may hang up on the answer.
async fn answered_with_loss(answer: &str) -> DialError {
    let (listener, port) = listen().await;
    let answer = answer.to_owned();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    let target = target(&format!("ws://127.0.0.1:{port}"), &Limits::default());
    let error = dial_noting(&target).await.0.unwrap_err();
    server.await.unwrap();
    error
}

#[tokio::test]
async fn a_cloud_that_does_not_name_the_dialect_is_not_taken() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A WebSocket server, but for something else.
        drop(tokio_tungstenite::accept_async(stream).await);
    });
    let target = target(&format!("ws://127.0.0.1:{port}"), &Limits::default());
    let error = dial_noting(&target).await.0.unwrap_err();
    let DialError::Upgrade(problem) = &error else { panic!("{error:?}") };
    assert!(problem.contains("SubProtocol"), "{problem}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_silent_server_leaves_the_attempt_in_its_phase_and_giving_up_closes_the_connection() {
    for (scheme, last) in [("ws", Phase::Upgrade), ("wss", Phase::Tls)] {
        let (listener, port) = listen().await;
        let (heard, reached) = oneshot::channel();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let first = stream.read_u8().await.unwrap();
            heard.send(first).unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await
        });
        let target = target(&format!("{scheme}://127.0.0.1:{port}"), &Limits::default());
        let mut phases = Vec::new();
        {
            let mut attempt = Box::pin(dial(&target, AUTH.to_owned(), |phase| phases.push(phase)));
            tokio::select! {
                result = &mut attempt => panic!("{result:?}"),
                first = reached => assert!(first.is_ok()),
            }
        }
        assert_eq!(phases.last(), Some(&last));
        // The server sees the end.
        timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let (listener, port) = listen().await;
    drop(listener);
    let target = target(&format!("ws://127.0.0.1:{port}"), &Limits::default());
    let (result, phases) = dial_noting(&target).await;
    assert_eq!(phases, [Phase::Resolve, Phase::Tcp]);
    assert_eq!(
        result.unwrap_err().to_string(),
        format!("cannot connect to 127.0.0.1: 127.0.0.1:{port}: Connection refused (os error 111)")
    );
}

#[tokio::test]
async fn a_name_without_an_address_is_named() {
    // RFC 6761: nobody ever has this name.
    let target = target("ws://cloud.invalid", &Limits::default());
    let (result, phases) = dial_noting(&target).await;
    assert_eq!(phases, [Phase::Resolve]);
    let error = result.unwrap_err();
    assert!(matches!(error, DialError::Resolve { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot resolve cloud.invalid: "), "{error}");
}

#[tokio::test]
async fn a_literal_ipv6_address_is_dialled() {
    // Not every machine that builds has IPv6; then it says so with the address.
    let port = match TcpListener::bind("[::1]:0").await {
        Ok(listener) => listener.local_addr().unwrap().port(),
        Err(_) => 9,
    };
    let target = target(&format!("ws://[::1]:{port}"), &Limits::default());
    let error = dial_noting(&target).await.0.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to ::1: [::1]:{port}: ")), "{error}");
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_taken_into_memory() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        echo(stream).await
    });
    let limits = Limits { max_size: 1_000, ..Limits::default() };
    let target = target(&format!("ws://127.0.0.1:{port}"), &limits);
    let mut socket = dial_noting(&target).await.0.unwrap().socket;
    // Bigger than what this end reads; it may send it.
    socket.send(Message::binary(vec![7; 1_001])).await.unwrap();
    let error = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, tokio_tungstenite::tungstenite::Error::Capacity(_)), "{error}");
    drop(socket);
    assert!(server.await.unwrap().is_ok());
}

#[test]
fn debug_of_a_request_shows_nothing_of_the_header() {
    let target = target("ws://127.0.0.1", &Limits::default());
    let request = upgrade::request(&target.url, target.dialect, AUTH.to_owned()).unwrap();
    assert_eq!(request.headers()[AUTH_HEADER], AUTH);
    assert!(!format!("{request:?}").contains(AUTH));
}

#[test]
fn a_header_with_a_line_end_is_refused() {
    let target = target("ws://127.0.0.1", &Limits::default());
    assert!(matches!(
        upgrade::request(&target.url, target.dialect, "a\r\nb".to_owned()),
        Err(DialError::Upgrade(_))
    ));
}
