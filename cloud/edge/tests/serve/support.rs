//! Servers and clients for these tests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedecks_edge::{Listen, Peer, ServeLimits, ServeOptions, Server, Tls, serve};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warp::{Filter, Reply};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A deadline that tests wait for.
pub(crate) const SOON: Duration = Duration::from_millis(200);

pub(crate) fn impatient() -> ServeLimits {
    ServeLimits { handshake: SOON, ..ServeLimits::default() }
}

/// `/peer` answers with who asks, `/who` with all that is known about that, `/body` with how long the
/// request's body is, `/echo` upgrades.
pub(crate) fn filter()
-> impl Filter<Extract: Reply, Error = warp::Rejection> + Clone + Send + Sync + 'static {
    let peer = warp::path("peer")
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
        let via = peer.via.map_or("nobody".to_owned(), |via| via.ip().to_string());
        let Peer { address, encrypted, listener, .. } = peer;
        format!("{address} via {via}, encrypted: {encrypted}, listener {listener}")
    });
    let body = warp::path("body")
        .and(warp::body::content_length_limit(100))
        .and(warp::body::bytes())
        .map(|body: Bytes| format!("{} bytes", body.len()));
    peer.or(who).or(body).or(echo)
}

pub(crate) fn loopback() -> Listen {
    Listen::plain("127.0.0.1:0".parse().unwrap())
}

pub(crate) fn start(limits: ServeLimits, tls: Option<Tls>) -> Server {
    let listen = vec![Listen { tls, ..loopback() }];
    serve(filter(), ServeOptions { listen, limits, ..ServeOptions::default() }).unwrap()
}

/// A certificate for localhost and its key, in files.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
}

impl Identity {
    /// A new one, in the place of what is in the folder.
    pub(crate) fn write(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("k.pem"), made.key_pair.serialize_pem()).unwrap();
        Self { certificate: made.cert.der().clone() }
    }

    pub(crate) fn load(folder: &Path) -> Tls {
        Tls::from_pem_files(folder.join("c.pem"), folder.join("k.pem")).unwrap()
    }
}

/// A client that trusts these.
pub(crate) fn connector(trusted: &[&Identity]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for identity in trusted {
        roots.add(identity.certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

/// A server with TLS, and what its clients need to trust it.
pub(crate) fn start_tls(limits: ServeLimits) -> (Server, TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::write(folder.path());
    (start(limits, Some(Identity::load(folder.path()))), connector(&[&identity]))
}

pub(crate) async fn shake_hands(
    connector: &TlsConnector,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    before_long("the handshake", connector.connect(name, stream)).await
}

pub(crate) async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.addresses()[0]).await.unwrap()
}

/// From an address of one's own: all of 127.0.0.0/8 is loopback.
pub(crate) async fn connect_from(address: &str, server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    before_long("connecting", socket.connect(server.addresses()[0])).await.unwrap()
}

pub(crate) async fn before_long<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Everything until the server closes. A reset is a close too.
pub(crate) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let _ = before_long("the server closes", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn ask_peer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    stream.write_all(b"GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    until_closed(stream).await
}

/// The answer to a request with these headers, on a connection that goes on.
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
    before_long("the body", stream.read_exact(&mut body)).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// What `/who` knows.
pub(crate) async fn who(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    headers: &str,
) -> String {
    let answer = ask(stream, "/who", headers).await;
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

pub(crate) async fn upgraded(server: &Server) -> TcpStream {
    let mut stream = connect(server).await;
    let head = upgrade(&mut stream, "").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// The head of the answer.
pub(crate) async fn upgrade(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    headers: &str,
) -> String {
    let request = "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n";
    stream.write_all(format!("{request}{headers}\r\n").as_bytes()).await.unwrap();
    head(stream).await
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(before_long("the answer", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

pub(crate) async fn echoes(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    let mut echo = [0; 4];
    stream.write_all(b"ping").await.is_ok()
        && before_long("the echo", stream.read_exact(&mut echo)).await.is_ok()
        && echo == *b"ping"
}

pub(crate) async fn all_closed(server: &Server) {
    before_long("every slot is free", async {
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
