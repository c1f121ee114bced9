//! Sessions over TLS.

use std::sync::Arc;

use fedecks_cloud::serve::Tls;
use fedecks_cloud::session::Disconnected;
use fedecks_protocol::{
    AUTH_HEADER, AuthRequest, CloseCode, CloseReason, DEFAULT_PATH, Dialect, DownFrame, Limits,
    Proof, Term, UpFrame,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Called, Cloud, before_long, now, subprotocol, token};

type Device = WebSocketStream<TlsStream<TcpStream>>;

const LIMITS: Limits = Limits { max_size: 1024 * 1024, max_depth: Limits::MAX_DEPTH };

async fn cloud() -> (Cloud, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.key_pair.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Tls::from_pem_files(&certificate, &key).unwrap();
    (Cloud::over_tls(tls).await, Arc::new(config).into())
}

async fn connect(cloud: &Cloud, connector: &TlsConnector, id: &str) -> Device {
    let name = "localhost".try_into().unwrap();
    let stream = before_long("TLS", connector.connect(name, cloud.tcp().await)).await.unwrap();
    let proof = Proof::Token(token(id, now(), now() + 1000, 0));
    let header = AuthRequest { device_id: id.parse().unwrap(), proof };
    let mut request = format!("wss://localhost{DEFAULT_PATH}").into_client_request().unwrap();
    let header = header.to_header(Dialect::Bincode).unwrap();
    for (name, value) in [(AUTH_HEADER, header.as_str()), subprotocol()] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (mut device, _) =
        before_long("the upgrade", Box::pin(client_async(request, stream))).await.unwrap();
    assert!(matches!(frame(&mut device).await, DownFrame::Welcome(_)));
    device
}

async fn frame(device: &mut Device) -> DownFrame {
    match before_long("a frame", device.next()).await.unwrap().unwrap() {
        Message::Binary(bytes) => Dialect::Bincode.decode_down(&bytes, &LIMITS).unwrap(),
        other => panic!("expected a frame: {other:?}"),
    }
}

async fn say(device: &mut Device, term: Term) {
    let frame = UpFrame::Message { sequence: None, term };
    let bytes = Dialect::Bincode.encode_up(&frame, &LIMITS).unwrap();
    before_long("sending", device.send(Message::binary(bytes))).await.unwrap();
}

#[tokio::test]
async fn messages_of_every_size_go_both_ways() {
    let (cloud, connector) = cloud().await;
    let mut device = connect(&cloud, &connector, "a").await;
    // Around a record of TLS, and what takes many of them.
    for size in [0, 1, 16_383, 16_384, 16_385, 100_000, 1_000_000] {
        let term = Term::from("x".repeat(size));
        say(&mut device, term.clone()).await;
        let echo = DownFrame::Message { sequence: None, term: term.clone() };
        assert_eq!(frame(&mut device).await, echo, "{size}");
        cloud.hub.push(&"a".parse().unwrap(), term).await.unwrap();
        assert_eq!(frame(&mut device).await, echo, "{size}");
    }
    device.send(Message::Ping("hello".into())).await.unwrap();
    let pong = before_long("the pong", device.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("hello".into()));
}

#[tokio::test]
async fn many_messages_at_once_are_all_answered_in_order() {
    let (cloud, connector) = cloud().await;
    let mut device = connect(&cloud, &connector, "a").await;
    for number in 0..500 {
        let up = UpFrame::Message { sequence: None, term: number.into() };
        let bytes = Dialect::Bincode.encode_up(&up, &LIMITS).unwrap();
        device.feed(Message::binary(bytes)).await.unwrap();
    }
    device.flush().await.unwrap();
    for number in 0..500 {
        let echo = DownFrame::Message { sequence: None, term: number.into() };
        assert_eq!(frame(&mut device).await, echo);
    }
}

#[tokio::test]
async fn either_end_closes_with_its_reason() {
    let (mut cloud, connector) = cloud().await;
    let mut device = connect(&cloud, &connector, "a").await;
    device.close(None).await.unwrap();
    let ending = async { while let Some(Ok(_)) = device.next().await {} };
    before_long("the end", ending).await;
    let (error, why) = cloud.until_disconnected("a").await;
    assert_eq!(error, None);
    assert!(matches!(why, Disconnected::ByDevice(_)), "{why:?}");

    let mut device = connect(&cloud, &connector, "b").await;
    let reason = CloseReason::new(CloseCode::Revoked);
    assert!(cloud.hub.disconnect(&"b".parse().unwrap(), reason).await.unwrap());
    match before_long("the close frame", device.next()).await.unwrap().unwrap() {
        Message::Close(Some(frame)) => {
            assert_eq!(CloseReason::parse(frame.code.into(), &frame.reason), reason);
        }
        other => panic!("expected a close frame: {other:?}"),
    }
    let ending = async { while let Some(Ok(_)) = device.next().await {} };
    before_long("the end", ending).await;
    cloud.until_called(&Called::Disconnected("b".into(), Disconnected::ByCloud(reason))).await;
}

#[tokio::test]
async fn a_connection_that_breaks_without_a_word_is_noticed() {
    let (mut cloud, connector) = cloud().await;
    let device = connect(&cloud, &connector, "a").await;
    drop(device);
    let (error, why) = cloud.until_disconnected("a").await;
    assert_eq!(why, Disconnected::ByError);
    assert!(error.is_some_and(|error| error.starts_with("the connection ended")));
}
