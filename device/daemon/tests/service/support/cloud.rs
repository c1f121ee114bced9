//! A cloud in this process, with one account and a record of what its devices do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::auth::AuthenticatedBy;
use fedecks_cloud::serve::{Server, Tls};
use fedecks_cloud::store::SqliteStore;
use fedecks_cloud::{
    Decision, Denylist, Fedecks, Handler, Hub, Info, Keyring, Listen, Login, Options, Outcome,
    ServeOptions, Session, Term, serve,
};
use tokio::sync::mpsc;

use super::{PATIENCE, within};

pub(crate) const USER: &str = "marvin";
pub(crate) const PASSWORD: &str = "forty-two-towels";

/// What a device did, as the cloud saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Connected(By),
    Message(Term),
    Raw(Vec<u8>),
}

/// How a device proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Credentials,
    Token,
}

/// A cloud on a port of its own. Dropping it lets its connections go on.
pub(crate) struct Cloud {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    server: Server,
}

struct Recorder(mpsc::UnboundedSender<Seen>);

impl Handler for Recorder {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        let credentials = login.credentials;
        let known = credentials.text("username") == Some(USER)
            && credentials.text("password") == Some(PASSWORD);
        if known { Decision::Accept } else { Decision::Reject }
    }

    async fn connected(&self, session: &Session) {
        session.subscribe(topic(session.device().as_str()));
        let by = match session.authenticated_by() {
            AuthenticatedBy::Token { .. } => By::Token,
            AuthenticatedBy::Credentials => By::Credentials,
        };
        let _ = self.0.send(Seen::Connected(by));
    }

    async fn handle_info(&self, _session: &Session, info: Info) -> Outcome {
        Outcome::Send(info.message)
    }

    async fn handle_in(&self, _session: &Session, message: Term) -> Outcome {
        let _ = self.0.send(Seen::Message(message));
        Outcome::Ok
    }

    async fn handle_raw_in(&self, _session: &Session, bytes: Vec<u8>) -> Outcome {
        let _ = self.0.send(Seen::Raw(bytes));
        Outcome::Ok
    }
}

/// The topic whose messages are pushed to this device.
pub(crate) fn topic(device: &str) -> String {
    format!("to.{device}")
}

impl Cloud {
    /// Over plain `ws://`, at this address; port 0 takes a free one.
    pub(crate) async fn start(address: SocketAddr) -> Self {
        Self::start_with(address, None).await
    }

    /// Over TLS, or without it.
    pub(crate) async fn start_with(address: SocketAddr, tls: Option<Tls>) -> Self {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let (sender, seen) = mpsc::unbounded_channel();
        let secret = "a secret of enough characters for a test, 64 of them or so......";
        let fedecks = Fedecks::builder(Recorder(sender))
            .keyring(Keyring::new(secret, "a salt of enough characters").unwrap())
            .denylist(Denylist::load(store.clone()).await.unwrap())
            .store(store)
            .options(Options::default())
            .build()
            .unwrap();
        let listen = vec![Listen { tls, ..Listen::plain(address) }];
        let options = ServeOptions { listen, ..ServeOptions::default() };
        let server = serve(fedecks.routes(), options).unwrap();
        Self { hub: fedecks.hub(), address: server.addresses()[0], seen, server }
    }

    /// What the devices did next.
    pub(crate) async fn next(&mut self) -> Seen {
        within(self.seen.recv()).await.unwrap()
    }

    /// Ends every connection and frees the port.
    pub(crate) async fn stop(mut self) -> SocketAddr {
        self.server.stop().await;
        self.hub.drain(usize::MAX, Duration::from_secs(1)).await;
        self.server.closed(PATIENCE).await;
        self.address
    }
}
