//! The ready-made handler, from a device's WebSocket to the topics and back.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail the test")]

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::accounts::{AccountHandler, hash_password};
use fedecks_cloud::store::{AccountStore, Actor, DeviceStore, SqliteStore};
use fedecks_cloud::{Denylist, Fedecks, Keyring, Listen, ServeOptions, serve};
use fedecks_protocol::{
    AUTH_HEADER, AuthRequest, Credentials, DEFAULT_PATH, DeviceId, Dialect, DownFrame, Limits,
    Proof, Term, UpFrame,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

const PATIENCE: Duration = Duration::from_secs(10);

async fn before_long<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

async fn login(address: std::net::SocketAddr, device: &DeviceId) -> WebSocketStream<TcpStream> {
    let credentials = Credentials::new().with("username", "marvin").with("password", "don't panic");
    let auth = AuthRequest { device_id: device.clone(), proof: Proof::Credentials(credentials) };
    let mut request = format!("ws://{address}{DEFAULT_PATH}").into_client_request().unwrap();
    let header = auth.to_header(Dialect::Bincode).unwrap();
    request.headers_mut().insert(AUTH_HEADER, header.parse().unwrap());
    let dialect = "fedecks.v1.bincode".parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", dialect);
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

async fn send(socket: &mut WebSocketStream<TcpStream>, frame: &UpFrame) {
    let bytes = Dialect::Bincode.encode_up(frame, &Limits::default()).unwrap();
    socket.send(Message::binary(bytes)).await.unwrap();
}

/// The next message for the application; Welcome and Token are not.
async fn message(socket: &mut WebSocketStream<TcpStream>) -> Term {
    loop {
        let Message::Binary(bytes) = socket.next().await.unwrap().unwrap() else { continue };
        let frame = Dialect::Bincode.decode_down(&bytes, &Limits::default()).unwrap();
        if let DownFrame::Message { term, .. } = frame {
            return term;
        }
    }
}

#[tokio::test]
async fn what_a_device_sends_goes_up_and_what_is_published_for_it_comes_down() {
    let store = Arc::new(SqliteStore::in_memory().unwrap());
    let hash = hash_password("don't panic").unwrap();
    store.add_account("marvin", &hash, &Actor::cli()).await.unwrap();
    let keyring = Keyring::new("0123456789abcdef0123456789abcdef", "the salt").unwrap();
    let cloud = Fedecks::builder(AccountHandler::new(store.clone()))
        .keyring(keyring)
        .denylist(Denylist::load(store.clone()).await.unwrap())
        .store(store.clone())
        .build()
        .unwrap();
    let listen = vec![Listen::plain("127.0.0.1:0".parse().unwrap())];
    let options = ServeOptions { listen, ..ServeOptions::default() };
    let server = serve(cloud.routes(), options).unwrap();
    let hub = cloud.hub();
    let mut up = hub.subscribe("up.nerves-1");

    let device = DeviceId::new("nerves-1").unwrap();
    let mut socket = login(server.addresses()[0], &device).await;
    send(&mut socket, &UpFrame::Message { sequence: None, term: Term::from("hello") }).await;
    let info = before_long("the message goes up", up.recv()).await.unwrap();
    assert_eq!(*info.message, Term::from("hello"));
    send(&mut socket, &UpFrame::Raw { sequence: None, bytes: vec![1, 2, 3] }).await;
    let info = before_long("the bytes go up", up.recv()).await.unwrap();
    assert_eq!(*info.message, Term::Bytes(vec![1, 2, 3]));

    // Its message was handled, so its subscription was in place before.
    hub.publish("down.nerves-2", Term::from("for another")).await.unwrap();
    hub.publish("down.nerves-1", Term::from("matey")).await.unwrap();
    assert_eq!(before_long("it comes down", message(&mut socket)).await, Term::from("matey"));

    let noted = async {
        while store.device(&device).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    before_long("the store notes the device", noted).await;
}
