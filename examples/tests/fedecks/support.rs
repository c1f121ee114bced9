//! A cloud as the guide sets it up, a device to go with it, and a network in between.

pub(crate) mod proxy;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::auth::AuthenticatedBy;
use fedecks_cloud::serve::Server;
use fedecks_cloud::store::SqliteStore;
use fedecks_cloud::{
    Decision, Denylist, Fedecks, Handler, Hub, Info, Keyring, Listen, Login, Options, Outcome,
    ServeOptions, Session, serve,
};
use fedecks_device::{Client, Credentials, DeviceId, Event, Subscription, Term};
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) const SECRET: &str = "a secret of enough characters for a test, 64 of them or so......";
pub(crate) const SALT: &str = "a salt of enough characters";
pub(crate) const DEVICE: &str = "nerves-242a";
pub(crate) const USER: &str = "the_user";
pub(crate) const PASSWORD: &str = "secure_password";

pub(crate) const BY_TOKEN: &str = "token";
pub(crate) const BY_CREDENTIALS: &str = "credentials";

/// How long anything that is awaited may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The handler of the guide: a user name and a password, a topic down and a topic up for each device.
pub(crate) struct MySocketHandler {
    connections: mpsc::UnboundedSender<&'static str>,
    logins: mpsc::UnboundedSender<(DeviceId, Credentials)>,
}

impl Handler for MySocketHandler {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        let Login { device, credentials, .. } = login;
        let _ = self.logins.send((device.clone(), credentials.clone()));
        let known = credentials.text("username") == Some(USER)
            && credentials.text("password") == Some(PASSWORD);
        if known { Decision::Accept } else { Decision::Reject }
    }

    async fn connected(&self, session: &Session) {
        session.subscribe(downstream(session.device().as_str()));
        let by = match session.authenticated_by() {
            AuthenticatedBy::Token { .. } => BY_TOKEN,
            AuthenticatedBy::Credentials => BY_CREDENTIALS,
        };
        let _ = self.connections.send(by);
    }

    async fn handle_info(&self, _session: &Session, info: Info) -> Outcome {
        Outcome::Send(info.message)
    }

    async fn handle_in(&self, session: &Session, message: Term) -> Outcome {
        session.hub().publish(upstream(session.device().as_str()), message).await.unwrap();
        Outcome::Ok
    }
}

pub(crate) fn downstream(device: &str) -> String {
    format!("nerves_downstream_topic.{device}")
}

pub(crate) fn upstream(device: &str) -> String {
    format!("nerves_upstream_topic.{device}")
}

/// A cloud on a port of its own, over plain `ws://`.
pub(crate) struct Cloud {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    pub(crate) connections: mpsc::UnboundedReceiver<&'static str>,
    pub(crate) logins: mpsc::UnboundedReceiver<(DeviceId, Credentials)>,
    pub(crate) denylist: Denylist,
    server: Server,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        Self::start_with(Options::default(), SECRET, address).await
    }

    pub(crate) async fn start_with(options: Options, secret: &str, address: SocketAddr) -> Self {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let (connections, seen_connections) = mpsc::unbounded_channel();
        let (logins, seen_logins) = mpsc::unbounded_channel();
        let denylist = Denylist::load(store.clone()).await.unwrap();
        let fedecks = Fedecks::builder(MySocketHandler { connections, logins })
            .keyring(Keyring::new(secret, SALT).unwrap())
            .denylist(denylist.clone())
            .store(store)
            .options(options)
            .build()
            .unwrap();
        let server = serve(
            fedecks.routes(),
            ServeOptions { listen: vec![Listen::plain(address)], ..ServeOptions::default() },
        )
        .unwrap();
        Self {
            hub: fedecks.hub(),
            address: server.addresses()[0],
            connections: seen_connections,
            logins: seen_logins,
            denylist,
            server,
        }
    }

    /// Ends every connection and frees the port.
    pub(crate) async fn stop(mut self) -> SocketAddr {
        self.server.stop().await;
        self.hub.drain(usize::MAX, Duration::from_secs(1)).await;
        self.server.closed(PATIENCE).await;
        self.address
    }

    /// How the next connection proves itself.
    pub(crate) async fn next_connection(&mut self) -> &'static str {
        within(self.connections.recv()).await.unwrap()
    }
}

/// A device with a data folder that outlives it.
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) events: Subscription,
}

impl Device {
    /// Starts one that dials `address` and waits little between attempts.
    pub(crate) fn start(address: SocketAddr, data: &Path) -> Self {
        let builder = Client::builder(
            format!("ws://{address}").parse().unwrap(),
            DeviceId::new(DEVICE).unwrap(),
        )
        .data_dir(data)
        .backoff(Duration::from_millis(50), Duration::from_millis(500))
        .pong_deadline(Duration::from_secs(1));
        let client = builder.start().unwrap();
        let events = client.subscribe();
        Self { client, events }
    }

    /// Starts one and logs it in.
    pub(crate) async fn logged_in(address: SocketAddr, data: &Path) -> Self {
        let mut device = Self::start(address, data);
        device.login().await;
        device.until(|event| *event == Event::Connected).await;
        device
    }

    pub(crate) async fn login(&mut self) {
        let done = within(self.client.login(credentials())).await.unwrap();
        assert!(done.persisted);
    }

    /// The next event for which `wanted` is true; others are passed over.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        within(async {
            loop {
                let event = self.events.next().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials::new().with("username", USER).with("password", PASSWORD)
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// What the future gives, or a failure if it takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing came of it in time")
}
