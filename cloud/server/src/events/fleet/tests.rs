//! Tests of events on several servers, by hubs on one backplane in this process.

use std::collections::HashSet;
use std::sync::Arc;

use fedecks_cloud::messaging::backplane::Backplane;
use fedecks_cloud::messaging::{ConnectionId, InProcess, NodeId, Presence};
use fedecks_cloud::{DeviceId, Message, Term};
use fedecks_cluster::lease::Standing;
use fedecks_store::Actor;
use fedecks_testing::cloud::{Cloud, CloudOptions};
use fedecks_testing::recorder::{Recorder, Seen};
use parking_lot::Mutex;
use tokio::time::{pause, sleep};

use super::super::entry::{Content, LogEntry, Reach};
use super::super::event::{Event, EventPayload};
use super::super::filter::Filter;
use super::super::log::Bounds;
use super::super::reader::{Item, Reader};
use super::super::record_access_changes;
use super::packet::{Filling, MAX_BYTES};
use super::peers::SILENCE;
use super::*;
use crate::cluster::Leadership;
use crate::lease::LeaseState;

/// One of several servers, without what serves.
struct Node {
    cloud: Cloud<Seen>,
    log: EventLog,
    shared: Option<SharedEvents>,
    stream: Reader,
    webhook: Reader,
    lease: watch::Sender<LeaseState>,
    /// The other servers whose lease has not ended.
    serving: Arc<Mutex<HashSet<NodeId>>>,
    _tasks: JoinSet<()>,
}

const BOUNDS: Bounds = Bounds { events: 100, bytes: 4_000_000 };

impl Node {
    async fn new(backplane: &Arc<InProcess>) -> Self {
        let backplane = Some(backplane.clone() as _);
        let cloud = CloudOptions { backplane, ..CloudOptions::default() }.start(Recorder).await;
        let log = EventLog::new(BOUNDS);
        let stream = Reader::follow(&log, None, Filter::default());
        let webhook = Reader::follow_for_webhooks(&log, Filter::default());
        let lease = LeaseState {
            standing: Standing::Waits,
            leads: false,
            drains: false,
            rebalances: 0,
            renewals: 0,
        };
        let (lease, state) = watch::channel(lease);
        let leads = Leadership::of(state);
        let (lost, mut tasks) = (LostDevices::default(), JoinSet::new());
        let serving = Arc::<Mutex<HashSet<NodeId>>>::default();
        let (hub, asked) = (cloud.hub.clone(), serving.clone());
        let ask = move || std::future::ready(Some(asked.lock().clone()));
        tasks.spawn(lost.clone().run(hub, log.clone(), leads, ask));
        let shared = Some(SharedEvents::start(&cloud.hub, &log, lost));
        Self { cloud, log, shared, stream, webhook, lease, serving, _tasks: tasks }
    }

    fn lead(&self, leads: bool) {
        self.lease.send_modify(|lease| lease.leads = leads);
    }

    fn record(&self, device: &str) {
        self.log.record(event(device, 0));
    }

    async fn stream(&mut self) -> Vec<String> {
        read(&mut self.stream).await
    }

    async fn webhook(&mut self) -> Vec<String> {
        read(&mut self.webhook).await
    }
}

async fn two() -> (Arc<InProcess>, Node, Node) {
    let backplane = Arc::new(InProcess::new());
    let (one, two) = (Node::new(&backplane).await, Node::new(&backplane).await);
    // The clock then moves only when there is nothing else to do.
    pause();
    settled().await;
    (backplane, one, two)
}

/// Until all have done what they have to do.
async fn settled() {
    sleep(Duration::from_secs(1)).await;
}

fn id(device: &str) -> DeviceId {
    DeviceId::new(device).unwrap()
}

fn event(device: &str, bytes: usize) -> Event {
    let payload = EventPayload::Message(Message::from(Term::from("x".repeat(bytes))));
    Event::now(&id(device), payload)
}

/// What there is to read: `gap`, or the device of each event.
async fn read(reader: &mut Reader) -> Vec<String> {
    let mut items = Vec::new();
    while let Some(item) = reader.ready().await {
        items.push(match item {
            Item::Gap { .. } => "gap".to_owned(),
            Item::Event(entry) => json(&entry)["device"].as_str().unwrap().to_owned(),
        });
    }
    items
}

async fn entry(reader: &mut Reader) -> Arc<LogEntry> {
    let Some(Item::Event(entry)) = reader.ready().await else { panic!("no event") };
    entry
}

fn json(entry: &LogEntry) -> serde_json::Value {
    serde_json::from_slice(&entry.json()).unwrap()
}

#[tokio::test]
async fn each_server_has_the_events_of_all() {
    let (_, mut one, mut two) = two().await;
    one.record("of-one");
    settled().await;
    two.record("of-two");
    settled().await;
    for node in [&mut one, &mut two] {
        assert_eq!(node.stream().await, ["of-one", "of-two"]);
    }
    assert_eq!(one.webhook().await, ["of-one"]);
    assert_eq!(two.webhook().await, ["of-two"]);

    let mut filtered = ["of-*", "else-*"].map(|pattern| {
        let pattern = fedecks_store::DevicePattern::new(pattern).unwrap();
        Reader::follow(&two.log, Some(&two.log.id(0)), Filter::new(vec![pattern], &[]))
    });
    let there = entry(&mut Reader::follow(&one.log, Some(&one.log.id(0)), Filter::default())).await;
    let here = entry(&mut filtered[0]).await;
    assert_eq!(there.json(), here.json(), "it is the same event, with the same id");
    let text = String::from_utf8(here.text().to_vec()).unwrap();
    let start = format!("id: {}\nevent: message\ndata: {{\"id\":\"{}\"", two.log.id(1), there.id());
    assert!(text.starts_with(&start) && text.ends_with("}\n\n"), "{text}");
    assert_eq!(read(&mut filtered[1]).await, [""; 0]);
}

#[tokio::test]
async fn a_server_without_others_encodes_nothing() {
    let backplane = Arc::new(InProcess::new());
    let mut one = Node::new(&backplane).await;
    one.record("before");
    settled().await;
    assert!(!one.log.read(1).unwrap()[0].is_rendered());
    let mut two = Node::new(&backplane).await;
    pause();
    settled().await;
    one.record("after");
    settled().await;
    assert!(one.log.read(2).unwrap()[0].is_rendered());
    assert_eq!(one.stream().await, ["before", "after"]);
    // It cannot know that what is missing was before it began.
    assert_eq!(two.stream().await, ["gap", "after"]);
}

#[tokio::test]
async fn what_does_not_arrive_is_a_gap_for_the_others() {
    let (_, mut one, mut two) = two().await;
    one.record("small");
    one.log.record(event("big", MAX_BYTES));
    one.record("small");
    settled().await;
    assert_eq!(one.stream().await, ["small", "big", "small"]);
    assert_eq!(two.stream().await, ["small", "gap", "small"]);

    // More at once than the log holds.
    (0..3 * BOUNDS.events).for_each(|_| one.record("many"));
    settled().await;
    let seen = two.stream().await;
    assert_eq!(seen[0], "gap");
    // All that its log holds.
    assert_eq!(seen[1..], vec!["many"; BOUNDS.events]);
    // What has left the log was not for its webhooks.
    assert_eq!(two.webhook().await, [""; 0]);
}

#[tokio::test]
async fn events_of_others_are_bounded_as_the_own_ones() {
    let (_, one, two) = two().await;
    for _ in 0..50 {
        one.log.record(event("a", 400_000));
        settled().await;
    }
    let (events, bytes) = two.log.kept();
    assert!((2..10).contains(&events) && bytes <= BOUNDS.bytes, "{events} {bytes}");
}

#[tokio::test]
async fn numbers_that_are_missing_are_gaps() {
    let (_, one, mut two) = two().await;
    let log = EventLog::new(BOUNDS);
    let own = LogEntry::new(7, 1, Content::Own(event("a", 0), Reach::All));
    let packet = |sequence, has_event: bool, ended| {
        let mut filling = Filling::default();
        assert!(!has_event || filling.add(&own, own.own().unwrap()));
        filling.into_message(log.instance(), sequence, ended)
    };
    let garbage = Message::from(Term::from("garbage"));
    let steps = [
        (packet(0, false, false), &[][..]),
        (packet(0, true, false), &["a"]),
        (packet(1, true, false), &["a"]),
        // A packet is lost, and a late one of before comes.
        (packet(3, true, false), &["gap", "a"]),
        (packet(2, true, false), &[]),
        // The last one is lost, which the next heartbeat shows.
        (packet(4, false, false), &[]),
        (packet(5, false, false), &["gap"]),
        (garbage, &["gap"]),
        (packet(5, false, true), &[]),
        // It is back, and some of it is missing.
        (packet(6, true, false), &["gap", "a"]),
    ];
    for (step, (message, expected)) in steps.into_iter().enumerate() {
        one.cloud.hub.publish_message(TOPIC, &message).await.unwrap();
        settled().await;
        assert_eq!(two.stream().await, expected, "step {step}");
    }
    // It ends without saying so. The other one is heard meanwhile.
    sleep(2 * SILENCE).await;
    assert_eq!(two.stream().await, ["gap"]);
    assert_eq!(two.webhook().await, [""; 0]);
}

#[tokio::test]
async fn a_server_that_stops_in_order_leaves_no_gap() {
    let (_, mut one, mut two) = two().await;
    one.record("last");
    one.shared.take().unwrap().end().await;
    sleep(2 * SILENCE).await;
    assert_eq!(two.stream().await, ["last"]);
    two.record("alone");
    settled().await;
    assert!(!two.log.read(2).unwrap()[0].is_rendered());
}

#[tokio::test]
async fn a_reader_resumes_at_another_server_after_a_gap() {
    let (_, mut one, two) = two().await;
    for device in ["a", "b"] {
        one.record(device);
        settled().await;
        two.record(&device.to_uppercase());
        settled().await;
    }
    // At the first server, it got these.
    let read_there: Vec<_> = [entry(&mut one.stream).await, entry(&mut one.stream).await].into();
    for (entry, expected) in read_there.iter().zip([["gap", "A", "b", "B"], ["gap", "A", "b", "B"]])
    {
        let mut resumed = Reader::follow(&two.log, Some(&entry.id()), Filter::default());
        assert_eq!(read(&mut resumed).await, expected);
    }
    let mut resumed = Reader::follow(&two.log, Some("12ab-1"), Filter::default());
    assert_eq!(read(&mut resumed).await, ["gap"]);
}

#[tokio::test]
async fn the_devices_of_a_lost_server_are_disconnected_once() {
    let (backplane, mut one, mut two) = two().await;
    one.lead(true);
    let connect = |device, stamp, node| {
        let connection = ConnectionId::from_parts(stamp, NodeId(node));
        backplane.register(&Arc::new(Presence::new(id(device), connection)));
        connection
    };
    for device in ["in-order", "back", "gone"] {
        connect(device, 1, 99);
    }
    settled().await;
    backplane.unregister(&Arc::new(Presence::new(
        id("in-order"),
        ConnectionId::from_parts(1, NodeId(99)),
    )));
    backplane.lose(NodeId(99));
    sleep(Duration::from_secs(5)).await;
    connect("back", 2, 98);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(one.stream().await, [""; 0]);
    sleep(Duration::from_secs(5)).await;
    let recorded = entry(&mut two.stream).await;
    let json = json(&recorded);
    assert_eq!((&json["kind"], &json["device"]), (&"disconnected".into(), &"gone".into()));
    assert_eq!(json["connection"], "1-63");
    assert_eq!(json["reason"], "the server that it was connected to was lost");
    assert_eq!(one.stream().await, ["gone"]);
    assert_eq!(one.webhook().await, ["gone"]);

    // The one that leads now does not repeat it, but records what the one before did not.
    connect("late", 3, 97);
    settled().await;
    one.lead(false);
    backplane.lose(NodeId(97));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(two.stream().await, [""; 0]);
    two.lead(true);
    sleep(Duration::from_secs(5)).await;
    for stream in [one.stream().await, two.stream().await, two.webhook().await] {
        assert_eq!(stream, ["late"]);
    }
}

#[tokio::test]
async fn devices_of_a_server_with_a_lease_are_not_disconnected() {
    let (backplane, mut one, mut two) = two().await;
    one.lead(true);
    let presence = |device, stamp| {
        Arc::new(Presence::new(id(device), ConnectionId::from_parts(stamp, NodeId(99))))
    };
    for node in [&one, &two] {
        node.serving.lock().insert(NodeId(99));
    }
    ["back", "gone"].iter().for_each(|device| backplane.register(&presence(device, 1)));
    settled().await;
    // It is cut off from the others, for longer than they remember the devices of a server without a lease.
    backplane.lose(NodeId(99));
    sleep(3 * Duration::from_secs(60)).await;
    backplane.register(&presence("back", 1));
    settled().await;
    // Then it dies, and another one leads.
    one.lead(false);
    two.lead(true);
    for node in [&one, &two] {
        assert_eq!(node.log.next(), 1);
        node.serving.lock().clear();
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!(two.stream().await, ["gone"]);
    assert_eq!(two.webhook().await, ["gone"]);
    assert_eq!(one.stream().await, ["gone"]);
}

#[tokio::test]
async fn what_every_server_learns_is_recorded_once_by_each() {
    let (_, mut one, mut two) = two().await;
    one.lead(true);
    let mut recording = JoinSet::new();
    for node in [&one, &two] {
        let changes = one.cloud.denylist.subscribe();
        let leads = Leadership::of(node.lease.subscribe());
        recording.spawn(record_access_changes(changes, node.log.clone(), leads));
    }
    one.cloud.denylist.block(&id("a"), &Actor::cli()).await.unwrap();
    settled().await;
    for node in [&mut one, &mut two] {
        assert_eq!(node.stream().await, ["a"]);
    }
    assert_eq!(one.webhook().await, ["a"]);
    assert_eq!(two.webhook().await, [""; 0]);
}
