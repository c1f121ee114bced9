//! Servers and clients of these tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedecks_edge::{Listen, Peer, ServeLimits, ServeOptions, Server, Socket, Task, Tls, serve};
use fedecks_edge::{UpgradeHandler, UpgradeHead, Upgrades};
use fedecks_testing::certificates::{Certificate, client_config};
use fedecks_testing::wait::{until, within};
use http::header::HOST;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warp::{Filter, Reply};

/// A timeout that tests wait for.
pub(crate) const SOON: Duration = Duration::from_millis(200);

/// More than the kernel takes for a client that does not read.
pub(crate) const BIG: usize = 32 * 1024 * 1024;

pub(crate) fn impatient() -> ServeLimits {
    ServeLimits::default().with(|it| it.handshake = SOON)
}

/// `/who` returns the peer, `/number` the number of the connection, `/body` the length of the request's body, `/big`
/// [`BIG`] bytes; `/echo` upgrades.
pub(crate) fn filter()
-> impl Filter<Extract: Reply, Error = warp::Rejection> + Clone + Send + Sync + 'static {
    let number = warp::path("number")
        .and(warp::ext::get::<Peer>())
        .map(|peer: Peer| format!("{} {}", peer.connection, peer.address));
    let echo = warp::path("echo").and(warp::ext::get::<OnUpgrade>()).map(|upgrade: OnUpgrade| {
        tokio::spawn(async move {
            let socket = TokioIo::new(upgrade.await.unwrap());
            let (mut reading, mut writing) = tokio::io::split(socket);
            let _ = tokio::io::copy(&mut reading, &mut writing).await;
        });
        http::Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(String::new())
            .unwrap()
    });
    let who = warp::path("who").and(warp::ext::get::<Peer>()).map(|peer: Peer| {
        let via = peer.via.map_or("none".to_owned(), |via| via.ip().to_string());
        let Peer { address, encrypted, listener, .. } = peer;
        format!("{address} via {via}, encrypted: {encrypted}, listener {listener}")
    });
    let body = warp::path("body")
        .and(warp::body::content_length_limit(100))
        .and(warp::body::bytes())
        .map(|body: Bytes| format!("{} bytes", body.len()));
    let big = warp::path("big").map(|| vec![b'x'; BIG]);
    number.or(who).or(body).or(big).or(echo)
}

/// Accepts upgrades at `/direct`, says what it has seen of the request, and closes.
struct Direct;

impl UpgradeHandler for Direct {
    fn accept(
        &self,
        head: &UpgradeHead<'_>,
        rest: &[u8],
        peer: &Peer,
        socket: Socket,
    ) -> Result<Task, Socket> {
        if head.path() != "/direct" {
            return Err(socket);
        }
        let values: Vec<_> = head.values(&HOST).map(String::from_utf8_lossy).collect();
        let rest = String::from_utf8_lossy(rest);
        let seen = format!("direct {} {values:?} {rest:?}", peer.address.ip());
        Ok(Task::new(async move {
            let mut socket = socket.upgraded();
            let _ = socket.write_all(seen.as_bytes()).await;
            let _ = socket.shutdown().await;
            None
        }))
    }
}

/// With upgrades at `/direct` that the filter does not see.
pub(crate) fn loopback() -> Listen {
    Listen::plain("127.0.0.1:0".parse().unwrap())
        .with(|it| it.upgrades = Some(Upgrades::new(Direct)))
}

pub(crate) fn start(limits: ServeLimits, tls: Option<Tls>) -> Server {
    let listen = loopback().with(|it| it.tls = tls);
    serve(filter(), ServeOptions::from(listen).with(|it| it.limits = limits)).unwrap()
}

/// A client that trusts these certificates.
pub(crate) fn connector(trusted: &[&Certificate]) -> TlsConnector {
    Arc::new(client_config(trusted.iter().map(|certificate| &certificate.der))).into()
}

/// A server with TLS, and a client that trusts it.
pub(crate) fn start_tls(limits: ServeLimits) -> (Server, TlsConnector) {
    let certificate = Certificate::self_signed("localhost");
    (start(limits, Some(certificate.tls())), connector(&[&certificate]))
}

pub(crate) async fn shake_hands(
    connector: &TlsConnector,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    within(connector.connect("localhost".try_into().unwrap(), stream)).await
}

pub(crate) async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.addresses()[0]).await.unwrap()
}

/// Connects from `address`: all of 127.0.0.0/8 is loopback.
pub(crate) async fn connect_from(address: &str, server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    within(socket.connect(server.addresses()[0])).await.unwrap()
}

/// Everything that the server sends until it closes. A reset is a close, too.
pub(crate) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn ask_number(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    stream
        .write_all(b"GET /number HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    until_closed(stream).await
}

/// The response to a request with these headers, on a connection that stays open.
pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    headers: &str,
) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = head(stream).await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().unwrap()];
    within(stream.read_exact(&mut body)).await.unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

/// The response of `/who`.
pub(crate) async fn who(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    headers: &str,
) -> String {
    let answer = ask(stream, "/who", headers).await;
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

pub(crate) async fn upgraded(server: &Server) -> TcpStream {
    let mut stream = connect(server).await;
    upgrade(&mut stream, "").await;
    stream
}

/// Upgrades to an echo.
pub(crate) async fn upgrade(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), headers: &str) {
    let request = "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n";
    stream.write_all(format!("{request}{headers}\r\n").as_bytes()).await.unwrap();
    let head = head(stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

pub(crate) async fn echoes(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    let mut echo = [0; 4];
    stream.write_all(b"ping").await.is_ok()
        && within(stream.read_exact(&mut echo)).await.is_ok()
        && echo == *b"ping"
}

pub(crate) async fn all_closed(server: &Server) {
    until(async || (server.connections() == 0).then_some(())).await;
}
