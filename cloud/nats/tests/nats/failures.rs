//! Servers that die, links that are cut, and what arrives that should not.

use std::sync::atomic::Ordering;

use fedecks_cloud::Term;
use fedecks_cloud::messaging::backplane::{Backplane, Payload};
use fedecks_cloud::messaging::{DeliverError, Message, NodeId, PresenceEvent, Topic};
use fedecks_nats::NatsBackplane;
use fedecks_testing::tcp_relay::{Link, NewConnections};
use fedecks_testing::wait::{until, within};

use crate::server;
use crate::support::{
    TestNode, connected, id, options, presence, two, two_with_relay, until_alone, until_connected,
    until_lists,
};

#[tokio::test]
async fn after_a_restart_of_nats_all_is_as_before() {
    let mut server = server!();
    let (one, two) = two(&options(&server)).await;
    let (node, mut received) = TestNode::join(&*two, 2);
    let topic = Topic::from("news");
    two.subscribe(NodeId(2), &topic);
    one.register(&presence("a", 1, 1));
    two.register(&presence("b", 2, 2));
    until_lists(&two, &["a", "b"]).await;

    server.kill();
    for backplane in [&one, &two] {
        until(async || (!backplane.state().connected).then_some(())).await;
    }
    one.register(&presence("c", 3, 1));
    one.unregister(&presence("a", 1, 1));
    let hello = Message::from(Term::from("hello"));
    let error = one.publish(&topic, &hello).await.unwrap_err();
    assert!(error.to_string().contains("NATS is not connected"), "{error}");
    let lost = one.deliver(&id("b"), &Payload::Message(hello.clone())).await;
    assert!(matches!(lost, Err(DeliverError::Backplane(_))), "{lost:?}");
    // Its own subscribers have it, though.
    assert!(two.publish(&topic, &Term::from("own").into()).await.is_err());
    assert_eq!(within(received.recv()).await, Some(Term::from("own")));
    assert!(one.state().counters.dropped > 0);

    let looks = node.looks.load(Ordering::Relaxed);
    server.start_again();
    until_lists(&two, &["b", "c"]).await;
    until_lists(&one, &["b", "c"]).await;
    // It may have missed that messages wait.
    until(async || (node.looks.load(Ordering::Relaxed) > looks).then_some(())).await;
    until(async || {
        one.publish(&topic, &hello).await.ok()?;
        received.try_recv().ok()
    })
    .await;
    within(one.deliver(&id("b"), &Payload::Message(hello))).await.unwrap();
}

#[tokio::test]
async fn a_cut_link_is_noticed_and_presence_converges_after_it() {
    let server = server!();
    let (one, two, relay) = two_with_relay(&server).await;
    one.register(&presence("a", 1, 1));
    two.register(&presence("b", 2, 2));
    until_lists(&one, &["a", "b"]).await;
    until_lists(&two, &["a", "b"]).await;

    let mut watch = one.watch().await.unwrap();
    relay.set(Link::Cut(NewConnections::Silent));
    one.register(&presence("c", 3, 1));
    two.register(&presence("d", 4, 2));
    // The devices of a lost node leave. It keeps those of others, as it cannot know.
    let left = async {
        let b = [presence("b", 2, 2)];
        let is_b = |event| matches!(event, PresenceEvent::NodeLost(lost) if lost.devices == b);
        while !is_b(within(watch.next()).await.unwrap()) {}
    };
    left.await;
    until_alone(&one).await;
    until(async || (!two.state().connected).then_some(())).await;
    until_lists(&two, &["a", "b", "d"]).await;

    relay.set(Link::Up);
    relay.reset();
    until_connected(&two).await;
    until_lists(&one, &["a", "b", "c", "d"]).await;
    until_lists(&two, &["a", "b", "c", "d"]).await;
    assert!(one.state().counters.resyncs > 0);
}

#[tokio::test]
async fn a_node_that_ends_is_gone_at_once() {
    let server = server!();
    let (one, two) = two(&options(&server)).await;
    two.register(&presence("b", 2, 2));
    until_lists(&one, &["b"]).await;
    drop(two);
    until_alone(&one).await;
    until_lists(&one, &[]).await;
}

#[tokio::test]
async fn a_node_that_joins_learns_of_20_000_devices() {
    let server = server!();
    let options = options(&server);
    let one = connected(&options).await;
    for number in 0..20_000 {
        one.register(&presence(&format!("device-{number}"), number + 1, 1));
    }
    let two = connected(&options).await;
    until(async || (two.list().await.unwrap().len() == 20_000).then_some(())).await;
    one.unregister(&presence("device-7", 8, 1));
    until(async || (two.list().await.unwrap().len() == 19_999).then_some(())).await;
    assert_eq!(two.state().counters.malformed, 0);
}

#[tokio::test]
async fn garbage_is_ignored_and_counted() {
    let server = server!();
    let options = options(&server);
    let (one, two) = two(&options).await;
    let (_node, mut received) = TestNode::join(&*two, 2);
    let topic = Topic::from("news");
    two.subscribe(NodeId(2), &topic);
    let stranger = async_nats::ConnectOptions::new().no_echo();
    let stranger = stranger.connect(server.url()).await.unwrap();
    let mut all = stranger.subscribe(format!("{}.>", options.prefix)).await.unwrap();
    stranger.flush().await.unwrap();
    let hello = Message::from(Term::from("hello"));
    one.register(&presence("a", 1, 1));
    two.register(&presence("b", 1, 2));
    until_lists(&one, &["a", "b"]).await;
    one.deliver(&id("b"), &Payload::Message(hello.clone())).await.unwrap();
    one.publish(&topic, &hello).await.unwrap();
    // To every subject that is in use, and every message with one more byte, and as of another version.
    for _ in 0..12 {
        use futures_util::StreamExt;
        let message = within(all.next()).await.unwrap();
        let payload = message.payload.to_vec();
        let longer = [payload.as_slice(), &[0xff]].concat();
        let mut newer = payload;
        if let Some(version) = newer.first_mut() {
            *version ^= 0x80;
        }
        for bytes in [Vec::new(), vec![0xff; 100], longer, newer] {
            stranger.publish(message.subject.clone(), bytes.into()).await.unwrap();
        }
    }
    stranger.flush().await.unwrap();
    until(async || (two.state().counters.malformed > 20).then_some(())).await;
    until(async || (one.state().counters.malformed > 20).then_some(())).await;
    one.deliver(&id("b"), &Payload::Message(Term::from("still").into())).await.unwrap();
    until(async || received.try_recv().ok().filter(|term| *term == Term::from("still"))).await;
    until_lists(&two, &["a", "b"]).await;
}

#[tokio::test]
async fn messages_of_a_node_keep_their_order() {
    let server = server!();
    let (one, two) = two(&options(&server)).await;
    let (_node, mut received) = TestNode::join(&*two, 2);
    let topic = Topic::from("any text. *>");
    two.subscribe(NodeId(2), &topic);
    until(async || {
        one.publish(&topic, &Term::from("there?").into()).await.unwrap();
        received.try_recv().ok()
    })
    .await;
    for number in 0..2_000 {
        one.publish(&topic, &Term::from(number).into()).await.unwrap();
    }
    let mut expected = 0;
    while expected < 2_000 {
        let term = within(received.recv()).await.unwrap();
        if term != Term::from("there?") {
            assert_eq!(term, Term::from(expected));
            expected += 1;
        }
    }
}

#[tokio::test]
async fn what_exceeds_max_payload_is_an_error() {
    let server = server!();
    let (one, two) = two(&options(&server)).await;
    let (_node, mut received) = TestNode::join(&*one, 1);
    let topic = Topic::from("news");
    one.subscribe(NodeId(1), &topic);
    two.register(&presence("b", 1, 2));
    until_lists(&one, &["b"]).await;
    let big = Message::from(Term::Bytes(vec![0; 1024 * 1024]));
    let error = one.publish(&topic, &big).await.unwrap_err().to_string();
    assert!(error.contains("exceeds NATS's max_payload of 1048576"), "{error}");
    assert_eq!(within(received.recv()).await, Some(big.clone().into_term()));
    let error = one.deliver(&id("b"), &Payload::Message(big)).await.unwrap_err();
    assert!(matches!(error, DeliverError::Encode(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_starts_later_is_found() {
    let mut server = server!();
    server.kill();
    let options = options(&server);
    let one = NatsBackplane::connect(options.clone()).await.unwrap();
    one.register(&presence("a", 1, 1));
    assert!(!one.state().connected);
    server.start_again();
    until_connected(&one).await;
    let two = connected(&options).await;
    until_lists(&two, &["a"]).await;
}
