//! Devices that exceed their rate limit.

use std::time::{Duration, Instant};

use fedecks_cloud::Options;
use fedecks_protocol::Term;
use fedecks_testing::device::Device;
use fedecks_testing::wait::within;
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Called, CloudExt, assert_echo, assert_echo_in_order, flood, id, with};

fn limited(messages_per_second: u32, message_burst: u32) -> Options {
    Options::default().with(|it| {
        it.messages_per_second = messages_per_second;
        it.message_burst = message_burst;
    })
}

#[tokio::test]
async fn a_burst_passes_at_once_and_the_rest_at_the_limit() {
    let mut cloud = with(limited(50, 20)).await;
    let mut device = cloud.connect("a").await;
    cloud.next().await;
    let start = Instant::now();
    flood(&mut device, (0..60).map(Term::from)).await;
    let mut times = Vec::new();
    for number in 0..60 {
        assert_eq!(cloud.next().await, Called::In("a".into(), number.into()));
        times.push(start.elapsed());
    }
    // 20 at once; the other 40 take 20 ms each.
    assert!(times[19] < Duration::from_millis(400), "{times:?}");
    assert!(times[59] >= Duration::from_millis(790), "{times:?}");
    assert!(times[59] < Duration::from_secs(5), "{times:?}");
}

#[tokio::test]
async fn a_flood_by_one_device_does_not_affect_another() {
    let cloud = with(limited(20, 5)).await;
    let mut flooding = cloud.connect("flooding").await;
    let mut other = cloud.connect("other").await;
    flood(&mut flooding, (0..200).map(Term::from)).await;
    let start = Instant::now();
    assert_echo(&mut other, "hello").await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // Messages for a throttled device still reach it, and so does the end of its session.
    cloud.hub.send(&id("flooding"), "down").await.unwrap();
    within(async { while flooding.receive().await != Term::from("down") {} }).await;
    cloud.hub.drain(1, Duration::ZERO).await;
    flooding.closed().await;
}

#[tokio::test]
async fn a_throttled_device_gets_pongs_as_a_keepalive() {
    let cloud = with(limited(4, 1)).await;
    let mut device = cloud.connect("a").await;
    flood(&mut device, std::iter::repeat_n("quiet".into(), 40)).await;
    let start = Instant::now();
    device.ws.send(Message::Ping("anyone there?".into())).await.unwrap();
    // The answer would come after 10 s.
    assert_eq!(device.message().await, Message::Pong("".into()));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

/// It exceeds its limit by far, and would consider the connection lost after 10 s without a pong.
#[tokio::test]
async fn a_real_device_that_is_throttled_for_long_stays_connected() {
    const MESSAGES: usize = 52;
    let heartbeat = Duration::from_secs(1);
    let mut cloud = with(limited(4, 1).with(|it| it.heartbeat = heartbeat)).await;
    let mut device = Device::start(cloud.address, "a").await;
    device.login().await;
    assert!(matches!(cloud.next().await, Called::Connected(..)));
    for _ in 0..MESSAGES {
        // The handler does not answer this: an answer would also keep the connection alive.
        within(device.client.send("quiet")).await.unwrap();
    }
    for _ in 0..MESSAGES {
        assert_eq!(cloud.next().await, Called::In("a".into(), "quiet".into()));
    }
    assert!(cloud.hub.is_connected(&id("a")).await.unwrap());
}

#[tokio::test]
async fn without_a_limit_no_message_is_delayed() {
    let cloud = with(limited(0, 1)).await;
    let mut device = cloud.connect("a").await;
    within(assert_echo_in_order(&mut device, 5_000)).await;
}
