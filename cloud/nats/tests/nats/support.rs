//! Nodes and backplanes of the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedecks_cloud::messaging::backplane::{Backplane, Node, Payload};
use fedecks_cloud::messaging::{
    ConnectionId, DeliverError, Message, NodeId, Presence, RequestError, Topic,
};
use fedecks_cloud::store::BoxFuture;
use fedecks_cloud::{DeviceId, Term};
use fedecks_nats::{NatsBackplane, NatsOptions};
use fedecks_protocol::CloseReason;
use fedecks_testing::nats::NatsServer;
use fedecks_testing::tcp_relay::TcpRelay;
use fedecks_testing::wait::until;
use tokio::sync::mpsc;

/// A server of NATS; skips the test if NATS is not installed.
#[macro_export]
macro_rules! server {
    ($($argument:expr),*) => {
        match fedecks_testing::nats::NatsServer::start(&[$($argument),*]) {
            Some(server) => server,
            None => return,
        }
    };
}

/// Options with short times and a separate prefix.
pub(crate) fn options(server: &NatsServer) -> NatsOptions {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let mut options = NatsOptions::new(server.url());
    options.prefix = format!("test-{}", LAST.fetch_add(1, Ordering::Relaxed));
    options.times.heartbeat = Duration::from_millis(300);
    options.times.lost = Duration::from_secs(3);
    options
}

pub(crate) async fn connected(options: &NatsOptions) -> Arc<NatsBackplane> {
    let backplane = NatsBackplane::connect(options.clone()).await.unwrap();
    until_connected(&backplane).await;
    backplane
}

pub(crate) async fn until_connected(backplane: &NatsBackplane) {
    until(async || backplane.state().connected.then_some(())).await;
}

pub(crate) async fn until_alone(backplane: &NatsBackplane) {
    until(async || (backplane.state().nodes == 0).then_some(())).await;
}

/// Two that hear each other.
pub(crate) async fn two(options: &NatsOptions) -> (Arc<NatsBackplane>, Arc<NatsBackplane>) {
    let (one, two) = (connected(options).await, connected(options).await);
    for backplane in [&one, &two] {
        until(async || (backplane.state().nodes == 1).then_some(())).await;
    }
    (one, two)
}

/// Two, the second of which reaches the server by a relay.
pub(crate) async fn two_with_relay(
    server: &NatsServer,
) -> (Arc<NatsBackplane>, Arc<NatsBackplane>, TcpRelay) {
    let relay = TcpRelay::start(server.address).await;
    let straight = options(server);
    let mut relayed = straight.clone();
    relayed.urls = format!("nats://{}", relay.address);
    (connected(&straight).await, connected(&relayed).await, relay)
}

pub(crate) fn id(device: &str) -> DeviceId {
    DeviceId::new(device).unwrap()
}

pub(crate) fn presence(device: &str, stamp: u64, node: u64) -> Arc<Presence> {
    Arc::new(Presence::new(id(device), ConnectionId::from_parts(stamp, NodeId(node))))
}

/// Waits until these are all devices that the backplane knows.
pub(crate) async fn until_lists(backplane: &NatsBackplane, expected: &[&str]) {
    until(async || {
        let all = backplane.list().await.unwrap();
        let mut names: Vec<_> = all.iter().map(|one| one.device.to_string()).collect();
        names.sort();
        (names == expected).then_some(())
    })
    .await;
}

/// A node that notes what it gets, and answers every question with it, but not "never".
pub(crate) struct TestNode {
    gets: mpsc::UnboundedSender<Term>,
    /// How often it looked for messages of all its devices.
    pub(crate) looks: AtomicU64,
}

impl TestNode {
    pub(crate) fn join(
        backplane: &impl Backplane,
        id: u64,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Term>) {
        let (sender, received) = mpsc::unbounded_channel();
        let node = Arc::new(Self { gets: sender, looks: AtomicU64::new(0) });
        let weak = Arc::downgrade(&node);
        backplane.join(NodeId(id), weak);
        (node, received)
    }
}

impl Node for TestNode {
    fn published(&self, _: &Topic, message: &Message) {
        // The test may have ended.
        let _ = self.gets.send(message.clone().into_term());
    }

    fn deliver(&self, _: &DeviceId, payload: &Payload) -> Result<(), DeliverError> {
        if let Payload::Message(message) = payload {
            let _ = self.gets.send(message.clone().into_term());
        }
        Ok(())
    }

    fn wake(&self, device: &DeviceId) {
        let _ = self.gets.send(Term::from(device.as_str()));
    }

    fn wake_all(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self, _: &DeviceId, _: CloseReason) -> bool {
        true
    }

    fn on_newer_connection(&self, _: &Presence) {}

    fn ask<'a>(
        &'a self,
        _: &'a DeviceId,
        question: &'a Term,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Term, RequestError>> {
        let _ = self.gets.send(question.clone());
        Box::pin(async move {
            if *question == Term::from("never") {
                tokio::time::sleep(timeout).await;
                return Err(RequestError::TimedOut);
            }
            Ok(question.clone())
        })
    }
}
