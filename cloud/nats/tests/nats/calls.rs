//! Requests to devices of other nodes, and what wakes them.

use std::time::Duration;

use fedecks_cloud::Term;
use fedecks_cloud::messaging::RequestError;
use fedecks_cloud::messaging::backplane::Backplane;
use fedecks_testing::tcp_relay::{Link, NewConnections};
use fedecks_testing::wait::within;

use crate::server;
use crate::support::{TestNode, id, options, presence, two, two_with_relay, until_lists};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_request_is_answered_or_times_out() {
    let server = server!();
    let (one, two) = two(&options(&server)).await;
    let (_node, mut received) = TestNode::join(&*two, 2);
    two.register(&presence("b", 1, 2));
    until_lists(&one, &["b"]).await;
    let question = Term::from("uptime");
    assert_eq!(within(one.ask(&id("b"), &question, LONG)).await, Ok(question));
    let short = Duration::from_millis(100);
    let answer = within(one.ask(&id("b"), &Term::from("never"), short)).await;
    assert_eq!(answer, Err(RequestError::TimedOut));
    within(received.recv()).await.unwrap();
    within(received.recv()).await.unwrap();
    one.wake(&id("b"));
    assert_eq!(within(received.recv()).await, Some(Term::from("b")));
}

#[tokio::test]
async fn a_lost_node_leaves_the_outcome_unknown() {
    let server = server!();
    let (one, two, relay) = two_with_relay(&server).await;
    let (_node, mut received) = TestNode::join(&*two, 2);
    two.register(&presence("b", 1, 2));
    until_lists(&one, &["b"]).await;
    let (device, question) = (id("b"), Term::from("never"));
    let asking = one.ask(&device, &question, LONG);
    let cutting = async {
        within(received.recv()).await.unwrap();
        relay.set(Link::Cut(NewConnections::Silent));
    };
    let (answer, ()) = within(async { tokio::join!(asking, cutting) }).await;
    assert_eq!(answer, Err(RequestError::OutcomeUnknown));
    let answer = within(one.ask(&device, &question, LONG)).await;
    assert_eq!(answer, Err(RequestError::NotConnected));
}
