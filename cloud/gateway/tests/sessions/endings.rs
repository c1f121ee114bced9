//! How sessions end, and who learns of it.

use std::time::{Duration, Instant};

use fedecks_cloud::Options;
use fedecks_cloud::messaging::{DeliverError, PresenceEvent, SendError};
use fedecks_cloud::session::Disconnected;
use fedecks_protocol::{CloseCode, CloseReason, Term, UpFrame};
use fedecks_testing::raw_device::{RawDevice, fresh_token};
use fedecks_testing::wait::{until, within};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Called, CloudExt, assert_echo, by_cloud, id, start, with};

fn impatient() -> Options {
    let (heartbeat, idle_timeout) = (Duration::from_secs(1), Duration::from_secs(2));
    Options::default().with(|it| {
        it.heartbeat = heartbeat;
        it.idle_timeout = idle_timeout;
    })
}

fn small_queue() -> Options {
    Options::default().with(|it| {
        it.queue_messages = 8;
        it.queue_bytes = 1 << 20;
    })
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    let mut cloud = start().await;
    let mut watch = cloud.hub.watch().await.unwrap();
    let mut old = cloud.connect("a").await;
    let mut new = cloud.connect("a").await;
    assert_eq!(old.closed().await, CloseReason::new(CloseCode::Replaced));
    old.ended().await;
    cloud.assert_end("a", "", by_cloud(CloseCode::Replaced)).await;

    // The late end of the older one changes nothing.
    assert!(cloud.hub.is_connected(&id("a")).await.unwrap());
    assert_eq!(cloud.hub.stats().connected, 1);
    cloud.hub.send(&id("a"), "to the new one").await.unwrap();
    assert_eq!(new.receive().await, Term::from("to the new one"));
    let mut next = async || within(watch.next()).await.unwrap();
    let PresenceEvent::Arrived(first) = next().await else { panic!("it left") };
    let PresenceEvent::Arrived(second) = next().await else { panic!("it left") };
    assert!(first.connection < second.connection);
    new.ws.close(None).await.unwrap();
    new.ended().await;
    assert_eq!(next().await, PresenceEvent::Left(second));
}

#[tokio::test]
async fn a_silent_device_is_dropped_and_one_that_pings_is_not() {
    let mut cloud = with(impatient()).await;
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
    cloud.assert_end("silent", "nothing was received for 2 s", Disconnected::ByError).await;
    assert!(cloud.hub.is_connected(&id("pinging")).await.unwrap());
}

#[tokio::test]
async fn a_big_message_on_a_slow_link_does_not_count_as_silence() {
    let cloud = with(impatient()).await;
    let mut tcp = cloud.connect("a").await.ws.into_inner();
    // 3,500 bytes, masked with zeros: a Raw frame in pieces over more than the idle timeout.
    let mut frame = vec![0x82, 0x80 | 126, 0x0d, 0xac, 0, 0, 0, 0, 0x02, 0x00];
    frame.resize(8 + 3500, 7);
    let start = Instant::now();
    for piece in frame.chunks(700) {
        tcp.write_all(piece).await.unwrap();
        // Nothing is sent before the message is complete.
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
    let mut cloud = with(Options::default().with(|it| it.max_frame = 10_000)).await;
    let mut device = cloud.connect("a").await;
    assert_echo(&mut device, Term::Bytes(vec![0; 9_900])).await;
    device.ws.feed(Message::binary(vec![0; 5_000_000])).await.unwrap();
    // The cloud continues to read until the device has its close frame, so that it is not lost.
    let _ = device.ws.flush().await;
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::TooBig));
    device.ended().await;
    let error = "the device sent a message of 5000000 bytes, at most 10000 are allowed";
    cloud.assert_end("a", error, Disconnected::ByError).await;
}

#[tokio::test]
async fn a_protocol_violation_ends_the_session_with_its_code() {
    let mut cloud = with(Options::default().with(|it| it.max_frame = 10_000)).await;
    let fragment =
        |opcode| [&[opcode, 0x80 | 126, 0x17, 0x70, 0, 0, 0, 0][..], &[0; 6000]].concat();
    let violation = "the device violated the WebSocket protocol: ";
    for (device, bytes, code, error) in [
        ("unmasked", vec![0x82, 0x01, 0x00], 1002_u16, violation),
        ("fragments", [fragment(2), fragment(0)].concat(), 1009, "the device sent a message of "),
    ] {
        let mut tcp = cloud.connect(device).await.ws.into_inner();
        tcp.write_all(&bytes).await.unwrap();
        let mut close = [0; 4];
        within(tcp.read_exact(&mut close)).await.unwrap();
        assert_eq!(close, [&[0x88, 2][..], &code.to_be_bytes()].concat()[..], "{device}");
        drop(tcp);
        cloud.assert_end(device, error, Disconnected::ByError).await;
    }
}

#[tokio::test]
async fn a_broken_connection_is_noticed_and_its_last_frame_ignored() {
    let mut cloud = start().await;
    // The beginning of a frame that is cut off by the end of the connection.
    for cut_off in [&[][..], &[0x82, 0x89, 0, 0, 0, 0, 0x01, 0x00, 0x05]] {
        let mut tcp = cloud.connect("a").await.ws.into_inner();
        tcp.write_all(cut_off).await.unwrap();
        drop(tcp);
        assert!(matches!(cloud.next().await, Called::Connected(..)));
        let Called::Error(_, error) = cloud.next().await else { panic!("no error") };
        assert!(error.starts_with("the connection was lost: "), "{error}");
        let end = Called::Disconnected("a".into(), Disconnected::ByError);
        assert_eq!(cloud.next().await, end);
        assert!(!cloud.hub.is_connected(&id("a")).await.unwrap());
    }
}

#[tokio::test]
async fn a_device_that_reads_nothing_is_dropped_at_a_full_queue() {
    let mut cloud = with(small_queue()).await;
    let mut quick = cloud.connect("quick").await;
    let _deaf = cloud.connect("deaf").await;
    let message = Term::Bytes(vec![7; 100_000]);
    let mut pushed = 0;
    let cause = within(async {
        loop {
            match cloud.hub.send(&id("deaf"), &message).await {
                Ok(()) => pushed += 1,
                Err(SendError::Deliver(DeliverError::QueueFull)) => {}
                Err(error) => break error,
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(cause, SendError::Deliver(DeliverError::NotConnected));
    // They are in the kernel's buffers, in ours of 16 KiB and a message, and in the queue.
    assert!(pushed < 200, "{pushed} messages of 100 kB were accepted");
    assert_echo(&mut quick, "not slowed").await;
    cloud.assert_end("deaf", "the device reads too slowly", Disconnected::ByError).await;
    assert_eq!(cloud.hub.stats().too_slow, 1);
}

#[tokio::test]
async fn a_device_that_reads_slowly_gets_everything() {
    let cloud = with(small_queue()).await;
    let mut device = cloud.connect("a").await;
    let (full, mut was_full) = tokio::sync::mpsc::channel(1);
    let message = |number| Term::Bytes(vec![number; 100_000]);
    let pushing = async {
        for number in 0..200_u8 {
            let mut in_vain = 0;
            while let Err(error) = cloud.hub.send(&id("a"), &message(number)).await {
                assert_eq!(error, SendError::Deliver(DeliverError::QueueFull));
                in_vain += 1;
                if in_vain == 200 {
                    // The kernel's buffers are full, too.
                    let _ = full.try_send(());
                }
                tokio::task::yield_now().await;
            }
        }
    };
    let reading = async {
        was_full.recv().await.unwrap();
        for number in 0..200_u8 {
            assert_eq!(device.receive().await, message(number));
        }
    };
    within(async { tokio::join!(pushing, reading) }).await;
}

#[tokio::test]
async fn a_session_that_would_miss_a_published_message_is_dropped() {
    let mut cloud = with(Options::default().with(|it| it.queue_messages = 8)).await;
    let mut device = cloud.connect("a").await;
    device.say("hang").await;
    cloud.until_called(&Called::In("a".into(), "hang".into())).await;
    for _ in 0..9 {
        cloud.hub.publish("all", &Term::from("news")).await.unwrap();
    }
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::Overloaded));
}

#[tokio::test]
async fn a_device_that_sends_but_does_not_read_is_held_back() {
    let cloud = start().await;
    let mut deaf = cloud.connect("deaf").await;
    let mut sent = 0;
    // Every message is echoed. The cloud stops reading if the echoes are not read.
    while sent < 10_000 {
        let sending = deaf.ws.send(Message::binary([&[2, 0][..], &[7; 100_000]].concat()));
        if tokio::time::timeout(Duration::from_secs(2), sending).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 1000, "{sent} messages of 100 kB were accepted");
    let mut other = cloud.connect("other").await;
    assert_echo(&mut other, "not slowed").await;
}

#[tokio::test]
async fn a_handler_that_stops_or_panics_ends_only_that_session() {
    let mut cloud = start().await;
    let mut other = RawDevice::login(cloud.address, "other").await;
    for (message, code, error, end) in [
        ("stop", CloseCode::Policy, "", by_cloud(CloseCode::Policy)),
        ("panic", CloseCode::InternalError, "the handler panicked", Disconnected::ByError),
    ] {
        let mut device = cloud.connect("a").await;
        for said in ["first", message, "never handled"] {
            device.say(said).await;
        }
        assert_eq!(device.receive().await, Term::from("first"));
        assert_eq!(device.closed().await, CloseReason::new(code));
        device.ended().await;
        cloud.assert_end("a", error, end).await;
        assert_echo(&mut other, "untouched").await;
    }
    let mut device = cloud.connect("a").await;
    device.send(&UpFrame::Raw { sequence: None, bytes: b"panic".to_vec() }).await;
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::InternalError));
    cloud.assert_end("a", "the handler panicked", Disconnected::ByError).await;
    assert_eq!(cloud.hub.stats().handler_failures, 2);
    cloud.hub.publish("downstream.other", &Term::from("stop")).await.unwrap();
    assert_eq!(other.closed().await, CloseReason::new(CloseCode::Policy));
}

#[tokio::test]
async fn a_callback_that_hangs_is_ended_after_the_idle_timeout() {
    let mut cloud = with(impatient()).await;
    let mut device = cloud.connect("a").await;
    device.say("hang").await;
    assert_eq!(device.closed().await, CloseReason::new(CloseCode::InternalError));
    device.ended().await;
    cloud.assert_end("a", "the handler took longer than 2 s", Disconnected::ByError).await;
}

#[tokio::test]
async fn a_callback_that_hangs_delays_a_close_for_seconds_only() {
    let mut cloud = start().await;
    let mut old = cloud.connect("a").await;
    old.say("hang").await;
    cloud.until_called(&Called::In("a".into(), "hang".into())).await;
    old.ping().await;
    let start = Instant::now();
    let _new = cloud.connect("a").await;
    assert_eq!(old.closed().await, CloseReason::new(CloseCode::Replaced));
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn disconnecting_sends_the_queue_and_then_the_reason() {
    let cloud = start().await;
    let mut device = cloud.connect("a").await;
    for number in 0..5 {
        cloud.hub.send(&id("a"), &number).await.unwrap();
    }
    let reason = CloseReason::new(CloseCode::Blocked);
    assert!(cloud.hub.disconnect(&id("a"), reason).await.unwrap());
    for number in 0..5 {
        assert_eq!(device.receive().await, Term::from(number));
    }
    assert_eq!(device.closed().await, reason);
    assert!(!cloud.hub.disconnect(&id("b"), reason).await.unwrap());
}

#[tokio::test]
async fn draining_spreads_reconnects_and_refuses_new_devices() {
    let cloud = start().await;
    let mut devices = Vec::new();
    for number in 0..10 {
        devices.push(cloud.connect(&format!("device-{number}")).await);
    }
    let closed = async {
        let mut delays = Vec::new();
        for device in &mut devices {
            let close = device.closed().await;
            assert_eq!(close.code, CloseCode::Restart);
            delays.push(close.retry_after.unwrap().as_secs());
        }
        delays.sort_unstable();
        delays
    };
    let draining = within(cloud.hub.drain(3, Duration::from_secs(20)));
    let expected = vec![1, 2, 4, 6, 8, 10, 12, 14, 16, 18];
    assert_eq!(tokio::join!(draining, closed), (10, expected));
    assert_eq!(cloud.hub.stats().connected, 0);
    let refused = RawDevice::dial(cloud.address, "late", fresh_token("late")).await.unwrap_err();
    assert_eq!((refused.status, refused.reason.as_deref()), (503, Some("unavailable")));
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn some_are_disconnected_one_after_the_other() {
    let cloud = start().await;
    let mut devices = Vec::new();
    for number in 0..6 {
        devices.push(cloud.connect(&format!("device-{number}")).await);
    }
    let before = Instant::now();
    assert_eq!(within(cloud.hub.disconnect_some(4, Duration::from_millis(400))).await, 4);
    // The last one after three pauses of 100 ms.
    assert!(before.elapsed() >= Duration::from_millis(300), "{:?}", before.elapsed());
    let left = async || Some(cloud.hub.list().await.unwrap()).filter(|left| left.len() == 2);
    let left = until(left).await;
    let is_left = |id: &str| left.iter().any(|presence| presence.device.as_str() == id);
    for (number, device) in devices.iter_mut().enumerate() {
        if !is_left(&format!("device-{number}")) {
            let reason = CloseReason::retry_after(CloseCode::Restart, Duration::from_secs(1));
            assert_eq!(device.closed().await, reason);
        }
    }
    cloud.hub.refuse_new(true);
    assert_eq!(within(cloud.hub.disconnect_some(2, Duration::ZERO)).await, 0);
    cloud.hub.refuse_new(false);
    let _accepted = cloud.connect("late").await;
    assert_eq!(within(cloud.hub.disconnect_some(7, Duration::ZERO)).await, 3);
    cloud.until_connected(0).await;
}

#[tokio::test]
async fn a_device_that_ignores_the_close_frame_is_cut_off() {
    let mut cloud = start().await;
    let mut tcp = cloud.connect("a").await.ws.into_inner();
    cloud.hub.disconnect(&id("a"), CloseReason::new(CloseCode::Policy)).await.unwrap();
    // It counts as disconnected immediately.
    cloud.until_connected(0).await;
    let mut read = Vec::new();
    within(tcp.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, [0x88, 2, 0x03, 0xf0]);
    cloud.assert_end("a", "", by_cloud(CloseCode::Policy)).await;
}

#[test]
fn the_handler_learns_of_the_end_even_if_the_runtime_shuts_down() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_device, mut cloud) = runtime.block_on(async {
        let mut cloud = start().await;
        let device = cloud.connect("a").await;
        assert!(matches!(cloud.next().await, Called::Connected(..)));
        (device, cloud)
    });
    drop(runtime);
    let end = Called::Disconnected("a".into(), Disconnected::Abandoned);
    assert_eq!(cloud.try_next(), Some(end));
}
