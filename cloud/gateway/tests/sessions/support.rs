//! A cloud with a handler that does as it is told, and a device that is nothing but a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fedecks_cloud::auth::{AuthenticatedBy, Claims};
use fedecks_cloud::messaging::Presence;
use fedecks_cloud::messaging::backplane::Backplane;
use fedecks_cloud::serve::{Server, Tls};
use fedecks_cloud::session::{Disconnected, SessionError};
use fedecks_cloud::store::{DeviceStore, SqliteStore};
use fedecks_cloud::{
    Decision, Denylist, Fedecks, Handler, Hub, Info, Keyring, Listen, Login, Options, Outcome,
    ServeOptions, Session, serve,
};
use fedecks_protocol::{
    AUTH_HEADER, AuthRequest, CloseReason, Credentials, DEFAULT_PATH, DeviceId, Dialect, DownFrame,
    Limits, Proof, REFUSAL_HEADER, Term, Token, UpFrame, Welcome,
};
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use warp::Filter;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const SECRET: &str = "a secret of the tests, 32 characters";
const SALT: &str = "salt of the tests";

/// What the handler was called with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Called {
    Connected(String, AuthenticatedBy),
    In(String, Term),
    Error(String, String),
    Disconnected(String, Disconnected),
}

pub(crate) struct Obedient(mpsc::UnboundedSender<Called>);

impl Handler for Obedient {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        let credentials = login.credentials;
        let seconds = Duration::from_secs;
        match credentials.text("username") {
            Some("blocked") => Decision::Blocked,
            Some("hasty") => Decision::RateLimited { retry_after: seconds(7) },
            Some("early") => Decision::Unavailable { retry_after: seconds(9) },
            Some("panic") => panic!("as asked for"),
            Some("marvin") if credentials.text("password") == Some("42") => Decision::Accept,
            _ => Decision::Reject,
        }
    }

    async fn connected(&self, session: &Session) {
        session.subscribe(format!("downstream.{}", session.device()));
        session.subscribe("all");
        self.call(Called::Connected(session.device().to_string(), session.authenticated_by()));
    }

    async fn handle_in(&self, session: &Session, message: Term) -> Outcome {
        self.call(Called::In(session.device().to_string(), message.clone()));
        match message.as_str() {
            Some("stop") => Outcome::stop(),
            Some("panic") => panic!("as asked for"),
            Some("hang") => std::future::pending().await,
            Some("quiet") => Outcome::Ok,
            Some("peer?") => Outcome::send(session.peer().is_some()),
            Some("too much") => Outcome::send("x".repeat(2_000_000)),
            Some("leave") => {
                session.unsubscribe("all");
                Outcome::send("left")
            }
            _ => Outcome::send(message),
        }
    }

    async fn handle_raw_in(&self, _session: &Session, mut bytes: Vec<u8>) -> Outcome {
        bytes.reverse();
        Outcome::SendRaw(bytes)
    }

    async fn handle_info(&self, _session: &Session, info: Info) -> Outcome {
        match info.message.as_str() {
            Some("stop") => Outcome::stop(),
            Some("not for the device") => Outcome::Ok,
            Some("raw") => Outcome::SendRaw(b"raw".to_vec()),
            _ => Outcome::Send(info.message),
        }
    }

    fn socket_error(&self, presence: &Presence, error: &SessionError) {
        self.call(Called::Error(presence.device.to_string(), error.to_string()));
    }

    fn disconnected(&self, presence: &Presence, why: &Disconnected) {
        self.call(Called::Disconnected(presence.device.to_string(), *why));
    }
}

impl Obedient {
    fn call(&self, called: Called) {
        let _ = self.0.send(called);
    }
}

pub(crate) struct Cloud {
    pub(crate) hub: Hub,
    pub(crate) denylist: Denylist,
    pub(crate) store: Arc<dyn DeviceStore>,
    address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Called>,
    _server: Option<Server>,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::on(options, None).await
    }

    pub(crate) async fn on(options: Options, backplane: Option<Arc<dyn Backplane>>) -> Self {
        Self::listening(options, backplane, None).await
    }

    pub(crate) async fn over_tls(tls: Tls) -> Self {
        Self::listening(Options::default(), None, Some(tls)).await
    }

    async fn listening(
        options: Options,
        backplane: Option<Arc<dyn Backplane>>,
        tls: Option<Tls>,
    ) -> Self {
        let listen = vec![Listen { tls, ..Listen::plain("127.0.0.1:0".parse().unwrap()) }];
        let serving = ServeOptions { listen, ..ServeOptions::default() };
        Self::made(options, backplane, |fedecks| {
            let server = serve(fedecks.routes(), serving).unwrap();
            (server.addresses()[0], Some(server))
        })
        .await
    }

    /// Mounted below a path, and behind warp's own accept loop in place of ours.
    pub(crate) async fn behind_warp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let path = DEFAULT_PATH.trim_start_matches("/fedecks").to_owned();
        Self::made(Options { path, ..Options::default() }, None, |fedecks| {
            let mounted = warp::path("fedecks").and(fedecks.routes());
            tokio::spawn(warp::serve(mounted).incoming(listener).run());
            (address, None)
        })
        .await
    }

    async fn made(
        options: Options,
        backplane: Option<Arc<dyn Backplane>>,
        serve: impl FnOnce(&Fedecks<Obedient>) -> (SocketAddr, Option<Server>),
    ) -> Self {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let denylist = Denylist::load(store.clone()).await.unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let mut builder = Fedecks::builder(Obedient(sender))
            .keyring(keyring())
            .denylist(denylist.clone())
            .store(store.clone())
            .options(options);
        if let Some(backplane) = backplane {
            builder = builder.backplane(backplane);
        }
        let fedecks = builder.build().unwrap();
        let (address, server) = serve(&fedecks);
        Self { hub: fedecks.hub(), denylist, store, address, calls, _server: server }
    }

    pub(crate) fn into_calls(self) -> mpsc::UnboundedReceiver<Called> {
        self.calls
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}{DEFAULT_PATH}", self.address)
    }

    pub(crate) async fn login(&self, device: &str) -> Device {
        let mut device = Device::dial(self, device, credentials("marvin")).await.unwrap();
        device.welcome().await;
        assert!(matches!(device.frame().await, DownFrame::Token(_)));
        device
    }

    /// Connects by a token that needs no refresh.
    pub(crate) async fn connect(&self, device: &str) -> Device {
        let proof = Proof::Token(token(device, now(), now() + 1000, 0));
        let mut device = Device::dial(self, device, proof).await.unwrap();
        device.welcome().await;
        device
    }

    pub(crate) async fn called(&mut self) -> Called {
        before_long("the handler is called", self.calls.recv()).await.unwrap()
    }

    /// Waits for a call, past others.
    pub(crate) async fn until_called(&mut self, expected: &Called) {
        loop {
            if self.called().await == *expected {
                return;
            }
        }
    }

    /// Waits for the end of a device's session, and tells the error before it, if there was one.
    pub(crate) async fn until_disconnected(
        &mut self,
        device: &str,
    ) -> (Option<String>, Disconnected) {
        let mut error = None;
        loop {
            match self.called().await {
                Called::Error(of, text) if of == device => error = Some(text),
                Called::Disconnected(of, why) if of == device => return (error, why),
                Called::Connected(..)
                | Called::In(..)
                | Called::Error(..)
                | Called::Disconnected(..) => {}
            }
        }
    }

    pub(crate) async fn until_connected(&self, count: usize) {
        before_long("so many are connected", async {
            while self.hub.stats().connected != count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A refused upgrade.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) reason: Option<String>,
    pub(crate) headers: HeaderMap,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) ws: WebSocketStream<TcpStream>,
}

impl Device {
    pub(crate) async fn dial(cloud: &Cloud, id: &str, proof: Proof) -> Result<Self, Refused> {
        let request = AuthRequest { device_id: id.parse().unwrap(), proof };
        let header = request.to_header(Dialect::Bincode).unwrap();
        Self::dial_with(cloud, &[(AUTH_HEADER, &header), subprotocol()]).await
    }

    pub(crate) async fn dial_with(
        cloud: &Cloud,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        let url = format!("ws://{}{DEFAULT_PATH}", cloud.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let upgrade = client_async(request, cloud.tcp().await);
        match before_long("the answer to the upgrade", upgrade).await {
            Ok((ws, _)) => Ok(Self { ws }),
            Err(Error::Http(response)) => {
                let reason = response.headers().get(REFUSAL_HEADER);
                Err(Refused {
                    status: response.status().as_u16(),
                    reason: reason.map(|reason| reason.to_str().unwrap().to_owned()),
                    headers: response.headers().clone(),
                })
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: &UpFrame) {
        let limits = Limits { max_size: Limits::MAX_SIZE, max_depth: Limits::MAX_DEPTH };
        let bytes = Dialect::Bincode.encode_up(frame, &limits).unwrap();
        self.send_bytes(bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        before_long("sending", self.ws.send(Message::binary(bytes))).await.unwrap();
    }

    pub(crate) async fn say(&mut self, term: impl Into<Term>) {
        self.send(&UpFrame::Message { sequence: None, term: term.into() }).await;
    }

    pub(crate) async fn message(&mut self) -> Message {
        before_long("a message", self.ws.next()).await.expect("it goes on").unwrap()
    }

    pub(crate) async fn frame(&mut self) -> DownFrame {
        match self.message().await {
            Message::Binary(bytes) => {
                Dialect::Bincode.decode_down(&bytes, &Limits::default()).unwrap()
            }
            other => panic!("expected a frame: {other:?}"),
        }
    }

    pub(crate) async fn hears(&mut self) -> Term {
        match self.frame().await {
            DownFrame::Message { sequence: None, term } => term,
            other => panic!("expected a message: {other:?}"),
        }
    }

    pub(crate) async fn welcome(&mut self) -> Welcome {
        match self.frame().await {
            DownFrame::Welcome(welcome) => welcome,
            other => panic!("expected Welcome: {other:?}"),
        }
    }

    /// The close frame, past other messages, answered by the client library.
    pub(crate) async fn closed(&mut self) -> CloseReason {
        loop {
            if let Message::Close(frame) = self.message().await {
                let frame = frame.expect("a code");
                return CloseReason::parse(frame.code.into(), &frame.reason);
            }
        }
    }

    /// Reads to the end of the connection, so that the close handshake comes to its end.
    pub(crate) async fn ended(&mut self) {
        let ending = async { while let Some(Ok(_)) = self.ws.next().await {} };
        before_long("the end", ending).await;
    }
}

pub(crate) fn subprotocol() -> (&'static str, &'static str) {
    ("sec-websocket-protocol", Dialect::Bincode.subprotocol())
}

pub(crate) fn credentials(username: &str) -> Proof {
    Proof::Credentials(Credentials::new().with("username", username).with("password", "42"))
}

pub(crate) fn keyring() -> Keyring {
    Keyring::new(SECRET, SALT).unwrap()
}

pub(crate) fn token(device: &str, issued_at: u64, expires_at: u64, generation: u64) -> Token {
    let device = id(device);
    keyring().seal(&Claims { device, issued_at, expires_at, generation }).token
}

pub(crate) fn id(device: &str) -> DeviceId {
    device.parse().unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) async fn before_long<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}
