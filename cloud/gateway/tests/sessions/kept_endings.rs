//! Kept messages when a session ends, or its handler takes long: what is stored, told and counted then.

use std::time::Duration;

use fedecks_cloud::store::{Effects, Step, StreamPosition};
use fedecks_protocol::DeliveryFrame;
use fedecks_protocol::{
    Capabilities, CloseCode, Dialect, DownFrame, Lane, Limits, Skip, SkipReason, StreamId, Tag,
    UpFrame,
};
use fedecks_testing::raw_device::RawDevice;
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::kept::{ack, ack_of, kept, logged, resume, resume_of, start, start_gated};
use crate::support::id;

/// Connects, and announces the stream.
async fn connect(address: std::net::SocketAddr) -> (RawDevice, u64) {
    let mut device = RawDevice::connect(address, "a").await;
    device.send(&resume(1)).await;
    let position = ack(&mut device).await.up_to;
    (device, position)
}

/// Sends all frames at once.
async fn send_all(device: &mut RawDevice, frames: impl IntoIterator<Item = UpFrame>) {
    for frame in frames {
        let bytes = Dialect::Bincode.encode_up(&frame, &Limits::default()).unwrap();
        device.ws.feed(Message::binary(bytes)).await.unwrap();
    }
    device.ws.flush().await.unwrap();
}

fn calls(cloud: &mut fedecks_testing::cloud::Cloud<(String, bool)>) -> Vec<String> {
    std::iter::from_fn(|| cloud.try_next()).map(|(text, _)| text).collect()
}

#[tokio::test]
async fn rejected_and_voided_numbers_give_back_the_memory_they_took() {
    let cloud = start().await;
    let (mut device, _) = connect(cloud.address).await;
    let rejected = (1..=30).map(|sequence| kept(sequence, "reject", false));
    let skips = (31..=60).map(|sequence| {
        let skip = Skip { handle: 1, from: sequence, to: sequence, reason: SkipReason::Expired };
        UpFrame::Delivery(DeliveryFrame::Skip(skip))
    });
    send_all(&mut device, rejected.chain(skips)).await;
    ack_of_at_least(&mut device, 60).await;
    assert_eq!(cloud.hub.stats().received_bytes_held, 0);
    send_all(&mut device, (61..=100).map(|sequence| kept(sequence, "m", false))).await;
    ack_of_at_least(&mut device, 100).await;
    assert_eq!(cloud.hub.stats().received_bytes_held, 0);
}

async fn ack_of_at_least(device: &mut RawDevice, up_to: u64) {
    loop {
        let ack = ack(device).await;
        assert!(ack.up_to <= up_to && ack.credit_to <= ack.up_to + 64, "{ack:?}");
        if ack.up_to == up_to {
            return;
        }
    }
}

#[tokio::test]
async fn a_message_that_closes_the_session_does_not_come_again() {
    let mut cloud = start().await;
    let (mut device, _) = connect(cloud.address).await;
    send_all(&mut device, [kept(1, "before", false), kept(2, "stop", false)]).await;
    assert_eq!(device.closed().await.code, CloseCode::Policy);
    device.ended().await;
    assert_eq!(connect(cloud.address).await.1, 2);
    assert_eq!(calls(&mut cloud), ["before", "stop"]);
}

#[tokio::test]
async fn what_was_handled_before_a_panic_does_not_come_again() {
    let mut cloud = start().await;
    let (mut device, _) = connect(cloud.address).await;
    let frames = [kept(1, "one", false), kept(2, "two", false), kept(3, "panic", false)];
    send_all(&mut device, frames).await;
    assert_eq!(device.closed().await.code, CloseCode::InternalError);
    device.ended().await;
    assert_eq!(connect(cloud.address).await.1, 2);
    assert_eq!(logged(&cloud).await, ["\"one\"", "\"two\""]);
    assert_eq!(calls(&mut cloud), ["one", "two", "panic"]);
}

#[tokio::test]
async fn a_panic_after_the_effects_are_stored_closes_the_session() {
    let cloud = start().await;
    let (mut device, _) = connect(cloud.address).await;
    device.send(&kept(1, "panic when stored", false)).await;
    assert_eq!(device.closed().await.code, CloseCode::InternalError);
    assert_eq!(cloud.hub.stats().handler_failures, 1);
    device.ended().await;
    assert_eq!(connect(cloud.address).await.1, 1);
}

#[tokio::test]
async fn a_newer_session_is_answered_once_the_older_one_has_stored() {
    let (mut cloud, gate) = start_gated().await;
    let (mut older, _) = connect(cloud.address).await;
    older.send(&kept(1, "held", false)).await;
    assert_eq!(cloud.next().await.0, "held");
    let mut newer = RawDevice::connect(cloud.address, "a").await;
    newer.send(&resume(1)).await;
    let early = timeout(Duration::from_millis(300), newer.frame()).await;
    assert!(early.is_err(), "{early:?}");
    gate.notify_one();
    assert_eq!(ack(&mut newer).await.up_to, 1);
    assert_eq!(older.closed().await.code, CloseCode::Replaced);
    assert_eq!(logged(&cloud).await, ["\"held\""]);
    assert_eq!(cloud.try_next(), None, "it was handled once");
}

#[tokio::test]
async fn a_newer_session_does_not_wait_for_ever_for_the_older_one() {
    let (mut cloud, gate) = start_gated().await;
    let (mut older, _) = connect(cloud.address).await;
    older.send(&kept(1, "held", false)).await;
    assert_eq!(cloud.next().await.0, "held");
    let (mut newer, position) = connect(cloud.address).await;
    assert_eq!(position, 0);
    newer.send(&kept(1, "held", true)).await;
    assert_eq!(cloud.next().await, ("held".to_owned(), true));
    gate.notify_one();
    ack_of(&mut newer, 1).await;
    assert_eq!(logged(&cloud).await, ["\"held\""]);
}

#[tokio::test]
async fn a_session_whose_handler_is_busy_shows_that_it_is_alive() {
    let (cloud, gate) = start_gated().await;
    let mut minimal = RawDevice::connect(cloud.address, "minimal").await;
    let (mut device, _) = connect(cloud.address).await;
    device.send(&UpFrame::Hello(Capabilities::ALL)).await;
    minimal.send(&resume(1)).await;
    ack(&mut minimal).await;
    for device in [&mut device, &mut minimal] {
        // The second is read ahead, and then the session does not read.
        let frames = [kept(1, "held", false), UpFrame::KeepAlive(7), UpFrame::KeepAlive(8)];
        send_all(device, frames).await;
    }
    let pong = Message::Pong(bytes::Bytes::new());
    assert_eq!(device.message().await, pong);
    assert_eq!(device.frame().await, DownFrame::Alive(0));
    assert_eq!(minimal.message().await, pong);
    gate.notify_waiters();
    for device in [&mut device, &mut minimal] {
        let mut alive = Vec::new();
        while alive.len() < 2 {
            match device.frame().await {
                DownFrame::Alive(number) => alive.push(number),
                DownFrame::Delivery(DeliveryFrame::Ack(ack)) => assert_eq!(ack.up_to, 1),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(alive, [7, 8]);
    }
}

#[tokio::test]
async fn an_acknowledgement_does_not_wait_for_the_next_message() {
    let (mut cloud, gate) = start_gated().await;
    let (mut device, _) = connect(cloud.address).await;
    device.send(&kept(1, "m1", false)).await;
    assert_eq!(cloud.next().await.0, "m1");
    while logged(&cloud).await.is_empty() {
        tokio::task::yield_now().await;
    }
    device.send(&kept(2, "held", false)).await;
    assert_eq!(ack(&mut device).await.up_to, 1);
    gate.notify_one();
    ack_of(&mut device, 2).await;
}

#[tokio::test]
async fn what_a_slow_handler_has_done_is_acknowledged_early() {
    let cloud = start().await;
    let (mut device, _) = connect(cloud.address).await;
    send_all(&mut device, (1..=20).map(|sequence| kept(sequence, "slow", false))).await;
    let first = ack(&mut device).await.up_to;
    assert!((1..=10).contains(&first), "{first}");
    ack_of_at_least(&mut device, 20).await;
}

#[tokio::test]
async fn a_new_stream_does_not_cost_the_position_of_another() {
    let cloud = start().await;
    let stream = |number: u8| StreamId([number; 16]);
    let fence = cloud.messages.open_streams(&id("a")).await.unwrap().fence;
    for number in 1..=8 {
        let to =
            StreamPosition { stream: stream(number), lane: Lane::Normal, up_to: 5, tag: Tag(5) };
        let step = Step { from: 0, to, effects: Effects::default() };
        assert_eq!(cloud.messages.accept(&id("a"), fence, vec![step]).await.unwrap(), 1);
    }
    let mut device = RawDevice::connect(cloud.address, "a").await;
    device.send(&resume_of(100, stream(100), 1)).await;
    assert_eq!(ack(&mut device).await.up_to, 0);
    for number in 2..=8 {
        device.send(&resume_of(number.into(), stream(number), 3)).await;
        let ack = ack(&mut device).await;
        assert_eq!((ack.handle, ack.up_to, ack.tag), (number.into(), 5, Tag(5)));
    }
}

#[tokio::test]
async fn a_message_above_the_credit_in_bytes_is_taken_alone() {
    let cloud = start().await;
    let (mut device, _) = connect(cloud.address).await;
    device.send(&kept(1, &"x".repeat(300 * 1024), false)).await;
    assert_eq!(ack_of(&mut device, 1).await.credit_bytes, 256 * 1024);
    assert_eq!(cloud.hub.stats().received_bytes_held, 0);
}
