//! Conformance tests for every implementation of a backplane, each on a new instance. They don't assume
//! that changes take effect immediately, but wait for them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "called by tests")]

use std::sync::Arc;
use std::time::Duration;

use fedecks_delivery::NoReply;
use fedecks_protocol::{
    CloseCode, CloseReason, DeviceId, EncodeError, NoReplyReason, Term, TermError,
};
use fedecks_store::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Backplane, BackplaneError, DeliverError, Node, Payload};
use crate::messaging::message::{Message, Topic};
use crate::messaging::presence::{ConnectionId, NodeId, Presence, PresenceEvent};
use crate::messaging::request::RequestError;

/// Checks the contract of [`Backplane`]; `make` creates a new instance for each check.
pub async fn check<B: Backplane>(make: impl AsyncFn() -> Arc<B>) {
    topics_reach_the_nodes_that_are_subscribed(&*make().await).await;
    presence_is_seen_by_all(&*make().await).await;
    the_newest_connection_stays_and_the_older_ones_node_is_notified(&*make().await).await;
    a_watch_begins_with_a_snapshot_and_has_no_gap(&*make().await).await;
    deliveries_and_closes_reach_the_node_of_the_device(&*make().await).await;
    the_devices_of_a_node_leave_with_it(&*make().await).await;
    questions_reach_the_node_and_its_answers_come_back(&*make().await).await;
    a_request_that_is_dropped_is_cancelled(&*make().await).await;
}

pub(crate) fn presence(device: &str, stamp: u64, node: NodeId) -> Arc<Presence> {
    Arc::new(Presence {
        device: DeviceId::new(device).unwrap(),
        connection: ConnectionId::from_parts(stamp, node),
    })
}

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

/// A call to a node.
#[derive(Debug, PartialEq)]
enum Call {
    Published(Topic, Term),
    Deliver(DeviceId, Term),
    Close(DeviceId, CloseReason),
    NewerConnection(Presence),
    Ask(DeviceId, Term, Duration),
    Cancelled,
}

struct Recorder {
    calls: mpsc::UnboundedSender<Call>,
    result: Mutex<Result<(), DeliverError>>,
    /// `None` if it does not answer.
    answer: Mutex<Option<Result<Term, RequestError>>>,
}

/// Tells that a request was dropped before it was answered.
struct Unanswered(Option<mpsc::UnboundedSender<Call>>);

impl Unanswered {
    async fn answered_by(
        mut self,
        answer: Option<Result<Term, RequestError>>,
    ) -> Result<Term, RequestError> {
        match answer {
            Some(answer) => {
                self.0 = None;
                answer
            }
            None => std::future::pending().await,
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(calls) = self.0.take() {
            // The test may have ended.
            let _ = calls.send(Call::Cancelled);
        }
    }
}

impl Node for Recorder {
    fn published(&self, topic: &Topic, message: &Message) {
        self.calls.send(Call::Published(topic.clone(), message.clone().into_term())).unwrap();
    }

    fn deliver(&self, device: &DeviceId, payload: &Payload) -> Result<(), DeliverError> {
        let term = match payload {
            Payload::Message(message) => message.clone().into_term(),
            Payload::Raw(bytes) => Term::Bytes(bytes.to_vec()),
        };
        self.calls.send(Call::Deliver(device.clone(), term)).unwrap();
        self.result.lock().clone()
    }

    fn wake(&self, _: &DeviceId) {}

    fn close(&self, device: &DeviceId, reason: CloseReason) -> bool {
        self.calls.send(Call::Close(device.clone(), reason)).unwrap();
        true
    }

    fn on_newer_connection(&self, newer: &Presence) {
        self.calls.send(Call::NewerConnection(newer.clone())).unwrap();
    }

    fn ask<'a>(
        &'a self,
        device: &'a DeviceId,
        question: &'a Term,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Term, RequestError>> {
        self.calls.send(Call::Ask(device.clone(), question.clone(), timeout)).unwrap();
        let unanswered = Unanswered(Some(self.calls.clone()));
        let answer = self.answer.lock().clone();
        Box::pin(async move { unanswered.answered_by(answer).await })
    }
}

struct Joined {
    node: Arc<Recorder>,
    calls: mpsc::UnboundedReceiver<Call>,
}

impl Joined {
    fn new(backplane: &impl Backplane, id: NodeId) -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        let node = Arc::new(Recorder {
            calls: sender,
            result: Mutex::new(Ok(())),
            answer: Mutex::default(),
        });
        let weak = Arc::downgrade(&node);
        backplane.join(id, weak);
        Self { node, calls }
    }

    async fn call(&mut self) -> Call {
        tokio::time::timeout(Duration::from_secs(10), self.calls.recv())
            .await
            .expect("the node is called")
            .expect("the node is there")
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let polling = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), polling).await.expect(what);
}

async fn devices(backplane: &impl Backplane) -> Vec<(String, u64)> {
    let all = backplane.list().await.unwrap();
    let mut all: Vec<_> =
        all.iter().map(|p| (p.device.to_string(), p.connection.stamp())).collect();
    all.sort();
    all
}

fn message(text: &str) -> Message {
    Term::from(text).into()
}

async fn topics_reach_the_nodes_that_are_subscribed(backplane: &impl Backplane) {
    let (mut one, mut two) = (Joined::new(backplane, ONE), Joined::new(backplane, TWO));
    let (both, only) = (Topic::from("both"), Topic::from("only two"));
    backplane.subscribe(ONE, &both);
    backplane.subscribe(TWO, &both);
    backplane.subscribe(TWO, &only);
    backplane.subscribe(TWO, &only);
    backplane.publish(&both, &message("1")).await.unwrap();
    backplane.publish(&only, &message("2")).await.unwrap();
    backplane.unsubscribe(TWO, &both);
    backplane.publish(&both, &message("3")).await.unwrap();
    backplane.publish(&only, &message("4")).await.unwrap();
    let published = |topic: &Topic, text: &str| Call::Published(topic.clone(), Term::from(text));
    assert_eq!(one.call().await, published(&both, "1"));
    assert_eq!(one.call().await, published(&both, "3"));
    assert_eq!(two.call().await, published(&both, "1"));
    assert_eq!(two.call().await, published(&only, "2"));
    assert_eq!(two.call().await, published(&only, "4"));
}

async fn presence_is_seen_by_all(backplane: &impl Backplane) {
    let _nodes = (Joined::new(backplane, ONE), Joined::new(backplane, TWO));
    let (a, b) = (presence("a", 1, ONE), presence("b", 2, TWO));
    backplane.register(&a);
    backplane.register(&b);
    until("both are listed", || async {
        devices(backplane).await == [("a".to_owned(), 1), ("b".to_owned(), 2)]
    })
    .await;
    assert_eq!(backplane.find(&a.device).await.unwrap().unwrap(), a);
    assert_eq!(backplane.connected(), 2);
    backplane.unregister(&a);
    until("a is gone", || async { backplane.find(&a.device).await.unwrap().is_none() }).await;
    assert_eq!(devices(backplane).await, [("b".to_owned(), 2)]);
    assert_eq!(backplane.connected(), 1);
}

async fn the_newest_connection_stays_and_the_older_ones_node_is_notified(
    backplane: &impl Backplane,
) {
    let (mut one, mut two) = (Joined::new(backplane, ONE), Joined::new(backplane, TWO));
    let (old, new) = (presence("a", 1, ONE), presence("a", 2, TWO));
    backplane.register(&old);
    backplane.register(&new);
    assert_eq!(one.call().await, Call::NewerConnection((*new).clone()));
    assert_eq!(devices(backplane).await, [("a".to_owned(), 2)]);

    // The late end of the older one has taken effect when a later change by the same node has.
    backplane.unregister(&old);
    backplane.register(&presence("marker", 3, ONE));
    until("the marker is there", || async { devices(backplane).await.len() == 2 }).await;
    assert_eq!(backplane.find(&new.device).await.unwrap().unwrap(), new);

    // And in the other order.
    let (old, new) = (presence("b", 4, TWO), presence("b", 5, ONE));
    backplane.register(&new);
    backplane.register(&old);
    assert_eq!(two.call().await, Call::NewerConnection((*new).clone()));
    assert_eq!(backplane.find(&new.device).await.unwrap().unwrap(), new);
}

async fn a_watch_begins_with_a_snapshot_and_has_no_gap(backplane: &impl Backplane) {
    let _nodes = (Joined::new(backplane, ONE), Joined::new(backplane, TWO));
    let (before, after) = (presence("a", 1, ONE), presence("b", 2, TWO));
    backplane.register(&before);
    until("a is there", || async { devices(backplane).await.len() == 1 }).await;
    let mut watch = backplane.watch().await.unwrap();
    backplane.register(&after);
    backplane.unregister(&before);
    assert_eq!(watch.snapshot(), std::slice::from_ref(&before));
    let mut events = Vec::new();
    for _ in 0..2 {
        let next = tokio::time::timeout(Duration::from_secs(10), watch.next());
        events.push(next.await.expect("an event").unwrap());
    }
    // The changes by two nodes arrive in either order.
    assert!(events.contains(&PresenceEvent::Arrived(after)), "{events:?}");
    assert!(events.contains(&PresenceEvent::Left(before)), "{events:?}");
}

async fn deliveries_and_closes_reach_the_node_of_the_device(backplane: &impl Backplane) {
    let (_one, mut two) = (Joined::new(backplane, ONE), Joined::new(backplane, TWO));
    let a = presence("a", 1, TWO);
    let payload = Payload::Message(message("hello"));
    let gone = backplane.deliver(&a.device, &payload).await;
    assert_eq!(gone, Err(DeliverError::NotConnected));
    let reason = CloseReason::new(CloseCode::Policy);
    assert!(!backplane.close(&a.device, reason).await.unwrap());

    backplane.register(&a);
    until("a is there", || async { devices(backplane).await.len() == 1 }).await;
    backplane.deliver(&a.device, &payload).await.unwrap();
    assert_eq!(two.call().await, Call::Deliver(a.device.clone(), Term::from("hello")));
    *two.node.result.lock() = Err(DeliverError::QueueFull);
    let raw = Payload::Raw(vec![1, 2, 3].into());
    assert_eq!(backplane.deliver(&a.device, &raw).await, Err(DeliverError::QueueFull));
    assert_eq!(two.call().await, Call::Deliver(a.device.clone(), Term::Bytes(vec![1, 2, 3])));

    assert!(backplane.close(&a.device, reason).await.unwrap());
    assert_eq!(two.call().await, Call::Close(a.device.clone(), reason));
}

async fn the_devices_of_a_node_leave_with_it(backplane: &impl Backplane) {
    let _nodes = (Joined::new(backplane, ONE), Joined::new(backplane, TWO));
    backplane.register(&presence("a", 1, ONE));
    backplane.register(&presence("b", 2, TWO));
    until("both are there", || async { devices(backplane).await.len() == 2 }).await;
    let mut watch = backplane.watch().await.unwrap();
    backplane.leave(ONE);
    let left = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    assert_eq!(left.unwrap(), Ok(PresenceEvent::Left(presence("a", 1, ONE))));
    assert_eq!(devices(backplane).await, [("b".to_owned(), 2)]);
}

async fn questions_reach_the_node_and_its_answers_come_back(backplane: &impl Backplane) {
    let (_one, mut two) = (Joined::new(backplane, ONE), Joined::new(backplane, TWO));
    let a = presence("a", 1, TWO);
    let (question, timeout) = (Term::from("uptime"), Duration::from_secs(60));
    let gone = backplane.ask(&a.device, &question, timeout).await;
    assert_eq!(gone, Err(RequestError::NotConnected));

    backplane.register(&a);
    until("a is there", || async { devices(backplane).await.len() == 1 }).await;
    let no_reply = NoReply::new(NoReplyReason::Other(7), "not now");
    let outcomes = [
        Ok(Term::from(5)),
        Err(RequestError::Value(<TermError as serde::de::Error>::custom("no term"))),
        Err(RequestError::Encode(EncodeError::TooBig { size: 9, limit: 8 })),
        Err(RequestError::Encode(EncodeError::TooDeep { limit: 64 })),
        Err(RequestError::Encode(EncodeError::TooHeavy { weight: 53, limit: 52 })),
        Err(RequestError::Unsupported),
        Err(RequestError::Busy),
        Err(RequestError::Backplane(BackplaneError::new("down"))),
        Err(RequestError::NoReply(no_reply)),
        Err(RequestError::TimedOut),
        Err(RequestError::OutcomeUnknown),
    ];
    for outcome in outcomes {
        *two.node.answer.lock() = Some(outcome.clone());
        assert_eq!(backplane.ask(&a.device, &question, timeout).await, outcome);
        let Call::Ask(device, asked, within) = two.call().await else { panic!("not asked") };
        assert_eq!((device, asked), (a.device.clone(), question.clone()));
        assert!(within <= timeout && within > timeout / 2, "{within:?}");
    }
}

async fn a_request_that_is_dropped_is_cancelled(backplane: &impl Backplane) {
    let (_one, mut two) = (Joined::new(backplane, ONE), Joined::new(backplane, TWO));
    let a = presence("a", 1, TWO);
    backplane.register(&a);
    until("a is there", || async { devices(backplane).await.len() == 1 }).await;
    let question = Term::from("uptime");
    {
        let asking = backplane.ask(&a.device, &question, Duration::from_secs(60));
        tokio::select! {
            answer = asking => panic!("answered: {answer:?}"),
            call = two.call() => assert!(matches!(call, Call::Ask(..)), "{call:?}"),
        }
    }
    assert_eq!(two.call().await, Call::Cancelled);
}
