use std::time::{Duration, Instant};

use fedecks_cloud::Options;
use fedecks_cloud::messaging::{DeliverError, PresenceEvent};
use fedecks_cloud::session::Disconnected;
use fedecks_protocol::{CloseCode, CloseReason, Term};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Called, Cloud, Device, before_long, credentials, id};

fn by_cloud(code: CloseCode) -> Disconnected {
    Disconnected::ByCloud(CloseReason::new(code))
}

fn impatient() -> Options {
    let (heartbeat, idle_timeout) = (Duration::from_secs(1), Duration::from_secs(2));
    Options { heartbeat, idle_timeout, ..Options::default() }
}

#[tokio::test]
async fn the_newest_connection_of_a_device_stays_and_the_older_one_is_told() {
    let mut cloud = Cloud::start().await;
    let mut watch = cloud.hub.watch().await.unwrap();
    let mut old = cloud.connect("a").await;
    let mut new = cloud.connect("a").await;
    assert_eq!(old.closed().await, CloseReason::new(CloseCode::Replaced));
    old.ended().await;
    let (error, why) = cloud.until_disconnected("a").await;
    assert_eq!((error, why), (None, by_cloud(CloseCode::Replaced)));

    // The late end of the older one changes nothing.
    assert!(cloud.hub.is_connected(&id("a")).await.unwrap());
    assert_eq!(cloud.hub.stats().connected, 1);
    cloud.hub.push(&id("a"), "to the new one").await.unwrap();
    assert_eq!(new.hears().await, Term::from("to the new one"));
    let mut stamps = Vec::new();
    for _ in 0..2 {
        match watch.next().await.unwrap() {
            PresenceEvent::Arrived(presence) => stamps.push(presence.connection),
            PresenceEvent::Left(presence) => panic!("left: {presence:?}"),
        }
    }
    assert!(stamps[0] < stamps[1]);
    new.ws.close(None).await.unwrap();
    new.ended().await;
    let left = before_long("it leaves", watch.next()).await.unwrap();
    assert!(matches!(&left, PresenceEvent::Left(p) if p.connection == stamps[1]), "{left:?}");
}

#[tokio::test]
async fn a_device_that_is_silent_is_dropped_and_one_that_pings_is_not() {
    let mut cloud = Cloud::with(impatient()).await;
    let start = Instant::now();
    let mut silent = cloud.connect("silent").await;
    let mut pinging = cloud.connect("pinging").await;
    let pings = async {
        loop {
            tokio::time::timeout(Duration::from_millis(500), pinging.ws.next()).await.ok();
            pinging.ws.send(Message::Ping("pinging".into())).await.unwrap();
        }
    };
    tokio::select! {
        () = pings => {}
        close = silent.closed() => {
            assert_eq!(close, CloseReason::new(CloseCode::GoingAway));
            let took = start.elapsed();
            assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
        }
    }
    silent.ended().await;
    let (error, why) = cloud.until_disconnected("silent").await;
    assert_eq!((error.as_deref(), why), (Some("nothing came for 2 s"), Disconnected::ByError));
    assert!(cloud.hub.is_connected(&id("pinging")).await.unwrap());
}

#[tokio::test]
async fn a_big_message_on_a_slow_link_is_not_taken_for_silence() {
    let cloud = Cloud::with(impatient()).await;
    let device = cloud.connect("a").await;
    let mut tcp = device.ws.into_inner();
    // 3,500 bytes, masked with zeros: a Raw frame in pieces over more than the idle timeout.
    let mut frame = vec![0x82, 0x80 | 126, 0x0d, 0xac, 0, 0, 0, 0, 0x02, 0x00];
    frame.resize(8 + 3500, 7);
    let start = Instant::now();
    for piece in frame.chunks(700) {
        tcp.write_all(piece).await.unwrap();
        // Nothing comes while the message is not there.
        let nothing = tokio::time::timeout(Duration::from_millis(700), tcp.read_u8()).await;
        if start.elapsed() < Duration::from_millis(2800) {
            assert!(nothing.is_err(), "{nothing:?}");
        }
    }
    assert!(start.elapsed() > Duration::from_secs(3));
    assert!(cloud.hub.is_connected(&id("a")).await.unwrap());
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_session_with_1009() {
    let mut cloud = Cloud::with(Options { max_frame: 10_000, ..Options::default() }).await;
    let mut device = cloud.connect("a").await;
    device.say(Term::Bytes(vec![0; 9_900])).await;
    device.hears().await;
    device.ws.feed(Message::binary(vec![0; 5_000_000])).await.unwrap();
    // The cloud goes on reading until the device has its close frame, so it is not lost.
    let _ = device.ws.flush().await;
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::TooBig));
    device.ended().await;
    let (error, why) = cloud.until_disconnected("a").await;
    let expected = "the device sent 5000000 bytes, at most 10000 are allowed";
    assert_eq!((error.as_deref(), why), (Some(expected), Disconnected::ByError));
}

#[tokio::test]
async fn a_fragmented_message_above_the_limit_ends_the_session_with_1009() {
    let cloud = Cloud::with(Options { max_frame: 10_000, ..Options::default() }).await;
    let device = cloud.connect("a").await;
    let mut tcp = device.ws.into_inner();
    let head = |first| [first, 0x80 | 126, 0x17, 0x70, 0, 0, 0, 0];
    for first in [0x02, 0x00] {
        tcp.write_all(&head(first)).await.unwrap();
        tcp.write_all(&[0; 6000]).await.unwrap();
    }
    let mut close = [0; 4];
    before_long("the close frame", tcp.read_exact(&mut close)).await.unwrap();
    assert_eq!(close, [0x88, 2, 0x03, 0xf1]);
}

#[tokio::test]
async fn what_breaks_the_websocket_protocol_ends_the_session_with_1002() {
    let mut cloud = Cloud::start().await;
    let device = cloud.connect("a").await;
    let mut tcp = device.ws.into_inner();
    tcp.write_all(&[0x82, 0x01, 0x00]).await.unwrap();
    let mut close = [0; 4];
    before_long("the close frame", tcp.read_exact(&mut close)).await.unwrap();
    assert_eq!(close, [0x88, 2, 0x03, 0xea]);
    drop(tcp);
    let (error, why) = cloud.until_disconnected("a").await;
    assert!(error.unwrap().starts_with("the device broke the WebSocket protocol: "));
    assert_eq!(why, Disconnected::ByError);
}

#[tokio::test]
async fn a_connection_that_breaks_is_noticed() {
    let mut cloud = Cloud::start().await;
    let device = cloud.connect("a").await;
    drop(device.ws.into_inner());
    let (error, why) = cloud.until_disconnected("a").await;
    assert!(error.unwrap().starts_with("the connection ended: "));
    assert_eq!(why, Disconnected::ByError);
    assert!(!cloud.hub.is_connected(&id("a")).await.unwrap());
}

#[tokio::test]
async fn a_frame_that_is_cut_off_by_the_end_of_the_connection_reaches_nobody() {
    let mut cloud = Cloud::start().await;
    let device = cloud.connect("a").await;
    let mut tcp = device.ws.into_inner();
    tcp.write_all(&[0x82, 0x89, 0, 0, 0, 0, 0x01, 0x00, 0x05]).await.unwrap();
    drop(tcp);
    assert!(matches!(cloud.called().await, Called::Connected(..)));
    assert!(matches!(cloud.called().await, Called::Error(..)));
    assert!(matches!(cloud.called().await, Called::Disconnected(..)));
}

#[tokio::test]
async fn a_device_that_reads_nothing_is_dropped_when_its_queue_is_full() {
    let bounds = Options { queue_messages: 8, queue_bytes: 1 << 20, ..Options::default() };
    let mut cloud = Cloud::with(bounds).await;
    let mut quick = cloud.connect("quick").await;
    let _deaf = cloud.connect("deaf").await;
    let message = Term::Bytes(vec![7; 100_000]);
    let mut pushed = 0;
    let why = before_long("the queue is full", async {
        loop {
            match cloud.hub.push(&id("deaf"), message.clone()).await {
                Ok(()) => pushed += 1,
                Err(error) if error.why == DeliverError::QueueFull => {}
                Err(error) => break error.why,
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(why, DeliverError::NotConnected);
    // What was taken is in the kernel's buffers, 16 KiB and a message of ours, and the queue.
    assert!(pushed < 200, "{pushed} messages of 100 kB were taken");
    quick.say("not slowed").await;
    assert_eq!(quick.hears().await, Term::from("not slowed"));
    let (error, why) = cloud.until_disconnected("deaf").await;
    let expected = Some("the device reads too slowly");
    assert_eq!((error.as_deref(), why), (expected, Disconnected::ByError));
    assert_eq!(cloud.hub.stats().too_slow, 1);
}

#[tokio::test]
async fn a_device_that_reads_slower_than_is_pushed_gets_everything() {
    let bounds = Options { queue_messages: 8, queue_bytes: 1 << 20, ..Options::default() };
    let cloud = Cloud::with(bounds).await;
    let mut device = cloud.connect("a").await;
    let (full, mut was_full) = tokio::sync::mpsc::channel(1);
    let pushing = tokio::spawn({
        let hub = cloud.hub.clone();
        async move {
            for number in 0..200_u8 {
                let message = Term::Bytes(vec![number; 100_000]);
                let mut in_vain = 0;
                while let Err(error) = hub.push(&id("a"), message.clone()).await {
                    assert_eq!(error.why, DeliverError::QueueFull);
                    in_vain += 1;
                    if in_vain == 200 {
                        // What the kernel takes is full too.
                        let _ = full.try_send(());
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    before_long("the queue is full", was_full.recv()).await.unwrap();
    for number in 0..200_u8 {
        assert_eq!(device.hears().await, Term::Bytes(vec![number; 100_000]));
    }
    before_long("everything is pushed", pushing).await.unwrap();
}

#[tokio::test]
async fn a_session_that_would_miss_something_published_is_dropped() {
    let bounds = Options { queue_messages: 8, ..Options::default() };
    let mut cloud = Cloud::with(bounds).await;
    let mut device = cloud.connect("a").await;
    device.say("hang").await;
    cloud.until_called(&Called::In("a".into(), "hang".into())).await;
    for _ in 0..9 {
        cloud.hub.publish("all", Term::from("news")).await.unwrap();
    }
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::Overloaded));
}

#[tokio::test]
async fn a_device_that_sends_and_reads_nothing_is_held_back_in_bounded_memory() {
    let cloud = Cloud::start().await;
    let mut deaf = cloud.connect("deaf").await;
    let mut sent = 0;
    // Every message is echoed. When nobody reads the echoes, the cloud stops reading.
    while sent < 10_000 {
        let sending = deaf.ws.send(Message::binary([&[2, 0][..], &[7; 100_000]].concat()));
        if tokio::time::timeout(Duration::from_secs(2), sending).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 1000, "{sent} messages of 100 kB were taken");
    let mut other = cloud.connect("other").await;
    other.say("not slowed").await;
    assert_eq!(other.hears().await, Term::from("not slowed"));
}

#[tokio::test]
async fn the_handler_ends_a_session_by_stop() {
    let mut cloud = Cloud::start().await;
    let mut device = cloud.connect("a").await;
    device.say("first").await;
    device.say("stop").await;
    device.say("never handled").await;
    assert_eq!(device.hears().await, Term::from("first"));
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::Policy));
    device.ended().await;
    let (error, why) = cloud.until_disconnected("a").await;
    assert_eq!((error, why), (None, by_cloud(CloseCode::Policy)));

    let mut device = cloud.login("b").await;
    cloud.hub.publish("downstream.b", Term::from("stop")).await.unwrap();
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::Policy));
}

#[tokio::test]
async fn a_panic_in_the_handler_ends_that_session_and_no_other() {
    let mut cloud = Cloud::start().await;
    let (mut a, mut b) = (cloud.connect("a").await, cloud.connect("b").await);
    a.say("panic").await;
    assert_eq!(a.closed().await, CloseReason::new(CloseCode::InternalError));
    a.ended().await;
    let (error, why) = cloud.until_disconnected("a").await;
    assert_eq!((error.as_deref(), why), (Some("the handler panicked"), Disconnected::ByError));
    b.say("untouched").await;
    assert_eq!(b.hears().await, Term::from("untouched"));
    assert_eq!(cloud.hub.stats().handler_failures, 1);
}

#[tokio::test]
async fn a_callback_that_hangs_is_ended_after_the_idle_timeout() {
    let mut cloud = Cloud::with(impatient()).await;
    let mut device = cloud.connect("a").await;
    device.say("hang").await;
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::InternalError));
    device.ended().await;
    let (error, _) = cloud.until_disconnected("a").await;
    assert_eq!(error.as_deref(), Some("the handler took longer than 2 s"));
}

#[tokio::test]
async fn a_callback_that_hangs_holds_up_an_ordered_end_for_seconds_only() {
    let mut cloud = Cloud::start().await;
    let mut old = cloud.connect("a").await;
    old.say("hang").await;
    cloud.until_called(&Called::In("a".into(), "hang".into())).await;
    let start = Instant::now();
    let _new = cloud.connect("a").await;
    assert_eq!(old.closed().await, CloseReason::new(CloseCode::Replaced));
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn disconnecting_sends_what_waits_and_then_the_reason() {
    let cloud = Cloud::start().await;
    let mut device = cloud.connect("a").await;
    for number in 0..5 {
        cloud.hub.push(&id("a"), number).await.unwrap();
    }
    let reason = CloseReason::new(CloseCode::Blocked);
    assert!(cloud.hub.disconnect(&id("a"), reason).await.unwrap());
    for number in 0..5 {
        assert_eq!(device.hears().await, Term::from(number));
    }
    assert_eq!(device.closed().await, reason);
    assert!(!cloud.hub.disconnect(&id("b"), reason).await.unwrap());
}

#[tokio::test]
async fn draining_closes_everything_with_spread_delays_and_refuses_new_devices() {
    let cloud = Cloud::start().await;
    let mut devices = Vec::new();
    for number in 0..10 {
        devices.push(cloud.connect(&format!("device-{number}")).await);
    }
    let draining = tokio::spawn({
        let hub = cloud.hub.clone();
        async move { hub.drain(3, Duration::from_secs(20)).await }
    });
    let mut delays = Vec::new();
    for device in &mut devices {
        let close = device.closed().await;
        assert_eq!(close.code, CloseCode::Restart);
        delays.push(close.retry_after.unwrap().as_secs());
    }
    delays.sort_unstable();
    assert_eq!(delays, [1, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    assert_eq!(before_long("draining ends", draining).await.unwrap(), 10);
    assert_eq!(cloud.hub.stats().connected, 0);
    let refused = Device::dial(&cloud, "late", credentials("marvin")).await.unwrap_err();
    assert_eq!((refused.status, refused.reason.as_deref()), (503, Some("unavailable")));
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_device_that_ignores_the_close_frame_is_cut_off() {
    let mut cloud = Cloud::start().await;
    let device = cloud.connect("a").await;
    let mut tcp = device.ws.into_inner();
    cloud.hub.disconnect(&id("a"), CloseReason::new(CloseCode::Policy)).await.unwrap();
    // It counts as gone at once.
    cloud.until_connected(0).await;
    let mut read = Vec::new();
    before_long("the end", tcp.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, [0x88, 2, 0x03, 0xf0]);
    cloud.until_disconnected("a").await;
}

#[tokio::test]
async fn the_store_hears_when_a_device_was_seen() {
    let cloud = Cloud::start().await;
    let _device = cloud.connect("a").await;
    let record = before_long("the note is written", async {
        loop {
            if let Some(record) = cloud.store.device(&id("a")).await.unwrap() {
                return record;
            }
        }
    })
    .await;
    assert!(record.last_seen.unwrap().abs_diff(crate::support::now()) <= 5);
}

#[test]
fn the_handler_hears_of_the_end_even_if_the_runtime_shuts_down() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_device, mut calls) = runtime.block_on(async {
        let mut cloud = Cloud::start().await;
        let device = cloud.connect("a").await;
        assert!(matches!(cloud.called().await, Called::Connected(..)));
        (device, cloud.into_calls())
    });
    drop(runtime);
    let end = Called::Disconnected("a".into(), Disconnected::Abandoned);
    assert_eq!(calls.blocking_recv(), Some(end));
}
