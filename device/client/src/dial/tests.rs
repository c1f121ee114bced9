//! Connection attempts to clouds, and to servers of other kinds.

use std::net::SocketAddr;
use std::time::Duration;

use fedecks_device_core as core;
use fedecks_protocol::{Dialect, Limits, Refusal};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::server::Request as ServerRequest;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::resolver::Resolver;
use super::*;
use crate::testing::{Cloud, accept, first, target, trusted_time, within};

const AUTH: &str = "c2VjcmV0";

/// Dials, and records the phases.
async fn dial_recording(target: &Target) -> (Result<Upgraded, DialError>, Vec<Phase>) {
    let mut phases = Vec::new();
    let result = within(Box::pin(dial(target, AUTH.to_owned(), |phase| phases.push(phase)))).await;
    (result, phases)
}

/// The error of an attempt, and its phases.
async fn fails(url: &str) -> (DialError, Vec<Phase>) {
    let (result, phases) = dial_recording(&target(url, &Limits::default())).await;
    (result.unwrap_err(), phases)
}

/// Accepts one connection on a local port and serves it.
async fn serve<F>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (u16, JoinHandle<F::Output>)
where
    F: Future<Output: Send + 'static> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async move { serve(listener.accept().await.unwrap().0).await };
    (port, tokio::spawn(server))
}

/// The error of a device whose request a server answers with these bytes.
async fn answered(answer: &str) -> DialError {
    let answer = answer.to_owned();
    let (port, server) = serve(async move |mut stream: TcpStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        // The device may hang up in the middle of a long response.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let (error, phases) = fails(&format!("ws://127.0.0.1:{port}")).await;
    assert_eq!(phases, [Phase::Resolve, Phase::Tcp, Phase::Upgrade]);
    server.await.unwrap();
    error
}

fn assert_upgrade_fails(error: &DialError, expected: &str) {
    let DialError::Upgrade(problem) = error else { panic!("{error:?}") };
    assert!(problem.contains(expected), "{problem}");
}

/// Accepts one upgrade and echoes messages. Returns the request.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> ServerRequest {
    let (mut socket, request) = accept(stream).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_binary() {
            socket.send(message).await.unwrap();
        }
    }
    request
}

/// Connects in these phases and has a message echoed. Returns the verified peer.
async fn connects(target: &Target, expected: &[Phase]) -> Option<VerifiedPeer> {
    let (upgraded, phases) = dial_recording(target).await;
    assert_eq!(phases, expected);
    let Upgraded { mut socket, peer, .. } = upgraded.unwrap();
    let before = socket.get_ref().activity();
    let message = Message::binary(vec![7; 100_000]);
    socket.send(message.clone()).await.unwrap();
    assert_eq!(within(socket.next()).await.unwrap().unwrap(), message);
    assert!(socket.get_ref().activity() >= before + 100_000);
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    peer
}

#[tokio::test]
async fn an_upgrade_sends_the_protocols_headers_and_opens_a_websocket() {
    let (port, server) = serve(echo).await;
    let target = target(&format!("ws://localhost:{port}/devices/here"), &Limits::default());
    let peer = connects(&target, &[Phase::Resolve, Phase::Tcp, Phase::Upgrade]).await;
    assert!(peer.is_none());

    let request = server.await.unwrap();
    assert_eq!(request.uri(), "/devices/here");
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("host"), format!("localhost:{port}"));
    assert_eq!(header("x-fedecks-auth"), AUTH);
    assert_eq!(header("sec-websocket-protocol"), "fedecks.v1.bincode");
}

#[tokio::test]
async fn a_peer_is_verified_and_known_over_tls() {
    let cloud = Cloud::new("localhost");
    let acceptor = TlsAcceptor::from(cloud.config.clone());
    let (port, server) =
        serve(async move |stream| echo(acceptor.accept(stream).await.unwrap()).await).await;

    let time = trusted_time(first(2025, 6), first(2025, 7), &cloud.directory);
    let url = format!("wss://localhost:{port}").parse().unwrap();
    let (options, limits) = (cloud.options(), Limits::default());
    let target = Target::new(url, &options, time.clone(), Dialect::Bincode, &limits).unwrap();
    let phases = [Phase::Resolve, Phase::Tcp, Phase::Tls, Phase::Upgrade];
    let peer = connects(&target, &phases).await.unwrap();
    assert!(time.observe(first(2026, 5).as_secs() * 1_000, |at| peer.latest_valid(at)));
    server.await.unwrap();
}

#[cfg(feature = "public-authorities")]
#[tokio::test]
async fn a_server_without_tls_fails_the_handshake() {
    let (port, server) = serve(async |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        // The device may close immediately and leave some of this unread.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let (error, phases) = fails(&format!("wss://127.0.0.1:{port}")).await;
    assert_eq!(phases, [Phase::Resolve, Phase::Tcp, Phase::Tls]);
    assert!(matches!(error, DialError::Tls { .. }), "{error:?}");
    assert!(error.to_string().starts_with("TLS handshake with 127.0.0.1 failed: "), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn every_refusal_is_recognized_with_its_delay() {
    for refusal in Refusal::ALL {
        let (status, reason) = (refusal.status(), refusal.reason());
        for (delay, retry_after) in [
            ("", None),
            ("Retry-After: 120\r\n", Some(Duration::from_secs(120))),
            ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", None),
            ("Retry-After: -1\r\n", None),
        ] {
            let answer = format!(
                "HTTP/1.1 {status} No\r\nWWW-Authenticate: Fedecks\r\n\
                 X-Fedecks-Refusal: {reason}\r\n{delay}Content-Length: 0\r\n\r\n"
            );
            let error = core::DialError::from(answered(&answer).await);
            assert_eq!(error, core::DialError::Refused { refusal, retry_after }, "{delay}");
        }
    }
}

#[tokio::test]
async fn errors_say_what_is_wrong_with_the_url() {
    let tls_alert = "\u{15}\u{3}\u{3}\0\u{2}\u{2}2";
    for (answer, expected) in [
        (tls_alert, "the server speaks TLS at this port: the url must begin with wss://"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "404; the path of the url is wrong, or a proxy"),
    ] {
        let error = answered(answer).await.to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn responses_of_portals_and_proxies_are_not_refusals() {
    let page = "<html><title>Welcome to the hotel</title></html>";
    for (status, rest) in [
        (200, format!("Content-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len())),
        (302, "Location: http://portal.hotel.test/login\r\nContent-Length: 0\r\n\r\n".into()),
        (401, "WWW-Authenticate: Basic realm=\"proxy\"\r\n\r\naccess denied".into()),
        (403, format!("\r\n{page}")),
        (407, "Proxy-Authenticate: Basic\r\n\r\n".into()),
        (502, "\r\n".into()),
        // These match the protocol only in part.
        (403, "x-fedecks-refusal: token-revoked\r\n\r\n".into()),
        (401, "x-fedecks-refusal: something-newer\r\n\r\n".into()),
        (401, "WWW-Authenticate: Fedecks\r\n\r\n".into()),
    ] {
        let error = answered(&format!("HTTP/1.1 {status} Whatever\r\n{rest}")).await;
        assert!(matches!(error, DialError::Http { status: got, .. } if got == status), "{error:?}");
        assert!(matches!(
            core::DialError::from(error),
            core::DialError::Unreachable { phase: core::Phase::Upgrade, .. }
        ));
    }
}

#[tokio::test]
async fn an_invalid_response_to_the_upgrade_is_described() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\n";
    let closed = "the connection was closed before the response was complete";
    for (answer, expected) in [
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "the response is not HTTP"),
        (String::new(), closed),
        ("HTTP/1.1 101 Switching".to_owned(), closed),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), "no \"Upgrade: websocket\""),
        (
            format!("{switching}Sec-WebSocket-Accept: bm8=\r\n\r\n"),
            "Sec-WebSocket-Accept is not the response to this request",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
            "the response head is longer than 64 KiB",
        ),
    ] {
        assert_upgrade_fails(&answered(&answer).await, expected);
    }
    let (port, server) = serve(async |stream| drop(accept_async(stream).await)).await;
    assert_upgrade_fails(
        &fails(&format!("ws://127.0.0.1:{port}")).await.0,
        "no \"Sec-WebSocket-Protocol: ",
    );
    server.await.unwrap();
}

/// How a server fails that is tried before the right one.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Closes,
    SpeaksNoTls,
    HasAnotherCertificate,
    Silent,
}

#[tokio::test]
async fn an_address_that_fails_in_tls_is_not_the_end_of_the_attempt() {
    let cloud = Cloud::new("cloud.test");
    let other = Cloud::new("cloud.test");
    let faults = [Fault::Closes, Fault::SpeaksNoTls, Fault::HasAnotherCertificate, Fault::Silent];
    let attempts = faults.map(async |fault| {
        let (good, acceptor) = (cloud.config.clone(), TlsAcceptor::from(other.config.clone()));
        let (bad_port, failing) = serve(async move |mut stream: TcpStream| match fault {
            Fault::Closes => {}
            Fault::SpeaksNoTls => stream.write_all(b"220 mail.test ESMTP\r\n").await.unwrap(),
            Fault::HasAnotherCertificate => assert!(acceptor.accept(stream).await.is_err()),
            Fault::Silent => drop(stream.read_to_end(&mut Vec::new()).await),
        })
        .await;
        let (good_port, server) = serve(async move |stream| {
            echo(TlsAcceptor::from(good).accept(stream).await.unwrap()).await
        })
        .await;
        let time = trusted_time(first(2026, 2), first(2026, 3), &cloud.directory);
        let (options, limits) = (cloud.options(), Limits::default());
        let url = "wss://cloud.test".parse().unwrap();
        let mut target = Target::new(url, &options, time, Dialect::Bincode, &limits).unwrap();
        target.resolver = Resolver::by("cloud.test".to_owned(), 443, move |_, _, _| {
            Ok([bad_port, good_port].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).to_vec())
        });
        let phases = [Phase::Resolve, Phase::Tcp, Phase::Tls, Phase::Upgrade];
        assert!(connects(&target, &phases).await.is_some(), "{fault:?}");
        within(server).await.unwrap();
        within(failing).await.unwrap();
    });
    join_all(attempts).await;
}

/// Dials a server that answers with these bytes, in which `ACCEPT` is the right value, and then echoes a message.
async fn upgraded_by(answer: &str) -> Result<(), DialError> {
    let answer = answer.to_owned();
    let (port, server) = serve(async move |mut stream: TcpStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let answer = answer.replace("ACCEPT", &derive_accept_key(key.as_bytes()));
        // In two parts, as a slow proxy might send it.
        let (first, second) = answer.split_at(answer.len() / 2);
        for part in [first, second] {
            let _ = stream.write_all(part.as_bytes()).await;
            let _ = stream.flush().await;
            tokio::task::yield_now().await;
        }
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let _ = socket.send(message).await;
        }
    })
    .await;
    let target = target(&format!("ws://127.0.0.1:{port}"), &Limits::default());
    let result = match dial_recording(&target).await.0 {
        Err(error) => Err(error),
        Ok(Upgraded { mut socket, .. }) => {
            let message = Message::binary(vec![7; 100]);
            socket.send(message.clone()).await.unwrap();
            assert_eq!(within(socket.next()).await.unwrap().unwrap(), message);
            Ok(())
        }
    };
    within(server).await.unwrap();
    result
}

#[tokio::test]
async fn an_upgrade_is_recognized_in_every_valid_form() {
    let mut failed = Vec::new();
    let ok = "HTTP/1.1 101 Switching Protocols\r\n";
    for lines in [
        format!("{ok}Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        format!("{ok}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"),
        format!("{ok}connection: upgrade ,keep-alive\r\nupgrade: WebSocket\r\n"),
        format!("{ok}Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
        format!("{ok}Connection:\tUPGRADE\r\nUpgrade: websocket, other/2\r\n"),
        format!("{ok}Connection: Upgrade\r\nUpgrade: other/2\r\nUpgrade: websocket\r\n"),
        format!(
            "{ok}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\nVia: 1.1 proxy\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions:\r\n"
        ),
        format!(
            "{ok}Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\
             X-Long: {}\r\n",
            "x".repeat(20_000)
        ),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             {ok}Connection: Upgrade\r\nUpgrade: websocket\r\n"
        ),
    ] {
        let answer = format!(
            "{lines}Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: fedecks.v1.bincode\r\n\r\n"
        );
        if let Err(error) = upgraded_by(&answer).await {
            failed.push(format!("{lines:?}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn a_silent_server_holds_its_phase_until_the_attempt_is_dropped() {
    for (scheme, last) in [("ws", Phase::Upgrade), ("wss", Phase::Tls)] {
        let (received, reached) = oneshot::channel();
        let (port, server) = serve(async move |mut stream: TcpStream| {
            received.send(stream.read_u8().await.unwrap()).unwrap();
            stream.read_to_end(&mut Vec::new()).await
        })
        .await;
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
        // The server sees the end of the connection.
        within(server).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_unreachable_address_or_unknown_name_is_named() {
    for host in ["127.0.0.1", "[::1]"] {
        // A port that was just closed. A machine without IPv6 reports the address with its error.
        let bare = host.trim_matches(['[', ']']);
        let listener = TcpListener::bind((bare, 0)).await;
        let port = listener.map_or(9, |listener| listener.local_addr().unwrap().port());
        let (error, phases) = fails(&format!("ws://{host}:{port}")).await;
        assert_eq!(phases, [Phase::Resolve, Phase::Tcp]);
        let (error, expected) =
            (error.to_string(), format!("cannot connect to {bare}: {host}:{port}: "));
        assert!(error.starts_with(&expected), "{error}");
        assert!(host != "127.0.0.1" || error == expected + "Connection refused (os error 111)");
    }
    // RFC 6761: this name never exists.
    let (error, phases) = fails("ws://cloud.invalid").await;
    assert_eq!(phases, [Phase::Resolve]);
    assert!(matches!(error, DialError::Resolve { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot resolve cloud.invalid: "), "{error}");
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_read_into_memory() {
    let (port, server) = serve(echo).await;
    let limits = Limits { max_size: 1_000, ..Limits::default() };
    let target = target(&format!("ws://127.0.0.1:{port}"), &limits);
    let mut socket = dial_recording(&target).await.0.unwrap().socket;
    // The limit is for reading; this end may send it.
    socket.send(Message::binary(vec![7; 1_001])).await.unwrap();
    let error = within(socket.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Capacity(_)), "{error}");
    drop(socket);
    server.await.unwrap();
}

#[test]
fn an_invalid_authentication_header_is_refused() {
    let target = target("ws://127.0.0.1", &Limits::default());
    for header in ["a\r\nb", "a b", "\u{e4}", "a\0"] {
        let request = Request::new(&target.url, target.dialect, header.to_owned());
        assert!(matches!(request, Err(DialError::Upgrade(_))), "{header:?}");
    }
}
