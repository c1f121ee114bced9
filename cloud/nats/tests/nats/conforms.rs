//! The conformance tests: for nodes of one process, and for nodes that only NATS connects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fedecks_cloud::messaging::backplane::{Backplane, Node, Payload, conformance};
use fedecks_cloud::messaging::{
    BackplaneError, DeliverError, Message, NodeId, Presence, PresenceWatch, RequestError, Topic,
};
use fedecks_cloud::store::BoxFuture;
use fedecks_cloud::{DeviceId, Term};
use fedecks_nats::NatsBackplane;
use fedecks_protocol::CloseReason;
use fedecks_testing::wait::within;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::server;
use crate::support::{TestNode, connected, options, two};

/// The node that tells when the subscriptions before its own are at the server.
const PROBE: u64 = 99;

/// Two backplanes with one node each: the first has node 1. What has no node is called on the first.
struct Pair {
    one: Arc<NatsBackplane>,
    two: Arc<NatsBackplane>,
    probes: AtomicU64,
    probe: Arc<TestNode>,
    probed: tokio::sync::Mutex<UnboundedReceiver<Term>>,
}

impl Pair {
    fn of(&self, node: NodeId) -> &NatsBackplane {
        if node == NodeId(1) { &self.one } else { &self.two }
    }
}

impl Backplane for Pair {
    fn join(&self, id: NodeId, node: Weak<dyn Node>) {
        self.of(id).join(id, node);
    }

    fn leave(&self, id: NodeId) {
        self.of(id).leave(id);
    }

    fn subscribe(&self, node: NodeId, topic: &Topic) {
        self.of(node).subscribe(node, topic);
    }

    fn unsubscribe(&self, node: NodeId, topic: &Topic) {
        self.of(node).unsubscribe(node, topic);
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: &'a Message,
    ) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(async move {
            assert!(Arc::strong_count(&self.probe) > 0);
            let probe = self.probes.fetch_add(1, Ordering::Relaxed);
            let on = Topic::from(format!("probe {probe}"));
            self.two.subscribe(NodeId(PROBE), &on);
            let (mut probed, expected) = (self.probed.lock().await, Term::from(probe));
            let message_of_probe = Message::from(expected.clone());
            within(async {
                loop {
                    self.one.publish(&on, &message_of_probe).await.unwrap();
                    let received = timeout(Duration::from_millis(20), probed.recv()).await;
                    if received.is_ok_and(|term| term.as_ref() == Some(&expected)) {
                        break;
                    }
                }
            })
            .await;
            self.one.publish(topic, message).await
        })
    }

    fn register(&self, presence: &Arc<Presence>) {
        self.of(presence.connection.node()).register(presence);
    }

    fn unregister(&self, presence: &Arc<Presence>) {
        self.of(presence.connection.node()).unregister(presence);
    }

    fn find<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Presence>>, BackplaneError>> {
        self.one.find(device)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<Presence>>, BackplaneError>> {
        self.one.list()
    }

    fn connected(&self) -> usize {
        self.one.connected()
    }

    fn watch(&self) -> BoxFuture<'_, Result<PresenceWatch, BackplaneError>> {
        self.one.watch()
    }

    fn deliver<'a>(
        &'a self,
        device: &'a DeviceId,
        payload: &'a Payload,
    ) -> BoxFuture<'a, Result<(), DeliverError>> {
        self.one.deliver(device, payload)
    }

    fn close<'a>(
        &'a self,
        device: &'a DeviceId,
        reason: CloseReason,
    ) -> BoxFuture<'a, Result<bool, BackplaneError>> {
        self.one.close(device, reason)
    }

    fn ask<'a>(
        &'a self,
        device: &'a DeviceId,
        question: &'a Term,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Term, RequestError>> {
        self.one.ask(device, question, timeout)
    }
}

#[tokio::test]
async fn nodes_of_one_process_conform() {
    let server = server!();
    conformance::check(async || connected(&options(&server)).await).await;
}

#[tokio::test]
async fn nodes_that_only_nats_connects_conform() {
    let server = server!();
    conformance::check(async || {
        let (one, two) = two(&options(&server)).await;
        let (probe, probed) = TestNode::join(&*two, PROBE);
        let probed = tokio::sync::Mutex::new(probed);
        Arc::new(Pair { one, two, probes: AtomicU64::new(0), probe, probed })
    })
    .await;
}
