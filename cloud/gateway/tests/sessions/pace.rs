//! Devices that send more than they may.

use std::time::{Duration, Instant};

use fedecks_cloud::Options;
use fedecks_device::{Client, Credentials, Event};
use fedecks_protocol::{Dialect, Limits, Term, UpFrame};
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Called, Cloud, before_long};

fn paced(messages_per_second: u32, message_burst: u32) -> Options {
    Options { messages_per_second, message_burst, ..Options::default() }
}

fn frame(term: Term) -> Message {
    let frame = UpFrame::Message { sequence: None, term };
    Message::binary(Dialect::Bincode.encode_up(&frame, &Limits::default()).unwrap())
}

#[tokio::test]
async fn a_burst_passes_at_once_and_the_rest_as_fast_as_it_may_and_nothing_is_lost() {
    let mut cloud = Cloud::with(paced(50, 20)).await;
    let mut device = cloud.connect("a").await;
    cloud.called().await;
    let start = Instant::now();
    for number in 0..60 {
        device.ws.feed(frame(number.into())).await.unwrap();
    }
    device.ws.flush().await.unwrap();
    let mut times = Vec::new();
    for number in 0..60 {
        assert_eq!(cloud.called().await, Called::In("a".into(), number.into()));
        times.push(start.elapsed());
    }
    // 20 at once; the other 40 take 20 ms each.
    assert!(times[19] < Duration::from_millis(400), "{times:?}");
    assert!(times[59] >= Duration::from_millis(790), "{times:?}");
    assert!(times[59] < Duration::from_secs(5), "{times:?}");
}

#[tokio::test]
async fn a_flood_of_one_device_is_no_matter_to_another() {
    let cloud = Cloud::with(paced(20, 5)).await;
    let mut flooding = cloud.connect("flooding").await;
    let mut other = cloud.connect("other").await;
    for number in 0..200 {
        flooding.ws.feed(frame(number.into())).await.unwrap();
    }
    flooding.ws.flush().await.unwrap();
    let start = Instant::now();
    other.say("hello").await;
    assert_eq!(other.hears().await, Term::from("hello"));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // What the cloud has for a device that is held back still reaches it, and so does its end.
    cloud.hub.push(&"flooding".parse().unwrap(), "down").await.unwrap();
    before_long("what is pushed", async { while flooding.hears().await != Term::from("down") {} })
        .await;
    cloud.hub.drain(1, Duration::ZERO).await;
    flooding.closed().await;
}

#[tokio::test]
async fn a_device_whose_ping_waits_behind_its_messages_is_shown_that_its_session_lives() {
    let cloud = Cloud::with(paced(4, 1)).await;
    let mut device = cloud.connect("a").await;
    for _ in 0..40 {
        device.ws.feed(frame("quiet".into())).await.unwrap();
    }
    let start = Instant::now();
    device.ws.send(Message::Ping("is anybody there?".into())).await.unwrap();
    // The answer would come after 10 s.
    assert_eq!(device.message().await, Message::Pong("".into()));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

/// One that sends much more than it may, and that would take a session for dead after 10 s.
#[tokio::test]
async fn a_real_device_that_is_held_back_for_long_stays_connected() {
    const MESSAGES: usize = 52;
    let heartbeat = Duration::from_secs(1);
    let mut cloud = Cloud::with(Options { heartbeat, ..paced(4, 1) }).await;
    let data = tempfile::tempdir().unwrap();
    let client = Client::builder(cloud.url().parse().unwrap(), "a".parse().unwrap())
        .data_dir(data.path())
        .start()
        .unwrap();
    let mut events = client.subscribe();
    let credentials = Credentials::new().with("username", "marvin").with("password", "42");
    before_long("the login", client.login(credentials)).await.unwrap();
    let connected = async { while events.next().await.unwrap() != Event::Connected {} };
    before_long("connected", connected).await;
    assert!(matches!(cloud.called().await, Called::Connected(..)));
    for _ in 0..MESSAGES {
        // Which the handler does not answer: an answer would be a sign of life.
        before_long("sending", client.send("quiet")).await.unwrap();
    }
    for _ in 0..MESSAGES {
        assert_eq!(cloud.called().await, Called::In("a".into(), "quiet".into()));
    }
    assert!(cloud.hub.is_connected(&"a".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn without_a_limit_nothing_is_held_back() {
    let mut cloud = Cloud::with(paced(0, 1)).await;
    let mut device = cloud.connect("a").await;
    cloud.called().await;
    for number in 0..5_000 {
        device.ws.feed(frame(Term::from(["quiet".into(), Term::from(number)]))).await.unwrap();
    }
    device.ws.flush().await.unwrap();
    let reading = async {
        loop {
            device.message().await;
        }
    };
    let counting = async {
        for _ in 0..5_000 {
            cloud.called().await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = before_long("all of them", counting) => {}
    }
}
