//! Kept messages for devices: order, what is sent again, and how they are settled.

use std::time::Duration;

use fedecks_cloud::messaging::{KeepDown, SendKeptError, SettledMessage};
use fedecks_cloud::store::{DownLimits, DownState, DropReason, NewDown, Queued};
use fedecks_cloud::{Decision, DeviceId, Handler, Login};
use fedecks_protocol::{
    Ack, Capabilities, CloseCode, Content, DeliveryFrame, DownFrame, Kept, Lane, Resume, Skip,
    SkipReason, Tag, Term, UpFrame,
};
use fedecks_testing::raw_device::RawDevice;
use tokio::sync::mpsc::UnboundedSender;

use crate::support::id;

pub(crate) type Cloud = fedecks_testing::cloud::Cloud<(String, Tag, DownState)>;

/// Records what is settled.
pub(crate) struct Recorder(pub(crate) UnboundedSender<(String, Tag, DownState)>);

impl Handler for Recorder {
    async fn authenticate(&self, _: Login<'_>) -> Decision {
        Decision::Reject
    }

    fn on_settled(&self, device: &DeviceId, settled: &[SettledMessage]) {
        for SettledMessage { id, state, .. } in settled {
            let _ = self.0.send((device.to_string(), *id, *state));
        }
    }
}

pub(crate) async fn start() -> Cloud {
    Cloud::start(Recorder).await
}

/// A device that takes kept messages.
pub(crate) async fn connect<C>(cloud: &fedecks_testing::cloud::Cloud<C>, name: &str) -> RawDevice {
    let mut device = RawDevice::connect(cloud.address, name).await;
    device.send(&UpFrame::Hello(Capabilities::KEPT_MESSAGES)).await;
    device
}

pub(crate) async fn send<C>(
    cloud: &fedecks_testing::cloud::Cloud<C>,
    name: &str,
    text: &str,
) -> Tag {
    cloud.hub.send_kept(&id(name), text, KeepDown::default()).await.unwrap()
}

pub(crate) async fn send_all(cloud: &Cloud, name: &str, texts: &[&str]) -> Vec<Tag> {
    let mut tags = Vec::new();
    for text in texts {
        tags.push(send(cloud, name, text).await);
    }
    tags
}

pub(crate) async fn delivery(device: &mut RawDevice) -> DeliveryFrame {
    match device.frame().await {
        DownFrame::Delivery(frame) => frame,
        other => panic!("not about kept messages: {other:?}"),
    }
}

pub(crate) async fn resume(device: &mut RawDevice) -> Resume {
    match delivery(device).await {
        DeliveryFrame::Resume(resume) => resume,
        other => panic!("expected Resume: {other:?}"),
    }
}

pub(crate) async fn kept(device: &mut RawDevice) -> Kept {
    match delivery(device).await {
        DeliveryFrame::Kept(kept) => kept,
        other => panic!("expected Kept: {other:?}"),
    }
}

async fn skip(device: &mut RawDevice) -> Skip {
    match delivery(device).await {
        DeliveryFrame::Skip(skip) => skip,
        other => panic!("expected Skip: {other:?}"),
    }
}

/// The number and the text of the next message, and whether it may have been sent before.
pub(crate) async fn text(device: &mut RawDevice) -> (u64, String, bool) {
    let kept = kept(device).await;
    let text = match kept.content {
        Content::Term(term) => term.decode().unwrap().as_str().unwrap().to_owned(),
        Content::Raw(bytes) => String::from_utf8(bytes).unwrap(),
    };
    (kept.sequence, text, kept.redelivered)
}

pub(crate) fn said(sequence: u64, text: &str, redelivered: bool) -> (u64, String, bool) {
    (sequence, text.to_owned(), redelivered)
}

/// An acknowledgement with credit for 8 messages more and 32 KiB.
pub(crate) fn ack(handle: u64, up_to: u64, tag: u64) -> Ack {
    let (credit_to, credit_bytes) = (up_to + 8, 32 * 1024);
    Ack { handle, up_to, tag: Tag(tag), credit_to, credit_bytes, rejected: Vec::new() }
}

pub(crate) async fn send_ack(device: &mut RawDevice, ack: Ack) {
    device.send(&UpFrame::Delivery(DeliveryFrame::Ack(ack))).await;
}

async fn rewind(device: &mut RawDevice, handle: u64, to: u64) {
    device.send(&UpFrame::Delivery(DeliveryFrame::Rewind { handle, to })).await;
}

pub(crate) async fn state(cloud: &Cloud, name: &str, id_of: Tag) -> DownState {
    cloud.device_queue.message_status(&id(name), id_of).await.unwrap().unwrap().state
}

/// Nothing but pongs arrives for a while.
pub(crate) async fn nothing_arrives(device: &mut RawDevice) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    device.ping().await;
}

#[tokio::test]
async fn what_waits_arrives_in_order_and_is_settled_once() {
    let mut cloud = start().await;
    let tags = send_all(&cloud, "a", &["one", "two", "three"]).await;
    let mut device = connect(&cloud, "a").await;
    let resume = resume(&mut device).await;
    assert_eq!((resume.handle, resume.lane, resume.oldest, resume.newest), (1, Lane::Normal, 1, 3));
    nothing_arrives(&mut device).await;
    send_ack(&mut device, ack(1, 0, 0)).await;
    for (sequence, expected) in [(1, "one"), (2, "two"), (3, "three")] {
        assert_eq!(text(&mut device).await, said(sequence, expected, false));
    }
    assert_eq!(state(&cloud, "a", tags[2]).await, DownState::Sent);
    send_ack(&mut device, Ack { rejected: vec![2], ..ack(1, 3, 0) }).await;
    let states = [DownState::Delivered, DownState::Rejected, DownState::Delivered];
    for (tag, expected) in tags.into_iter().zip(states) {
        assert_eq!(cloud.next().await, ("a".to_owned(), tag, expected));
        assert_eq!(state(&cloud, "a", tag).await, expected);
    }
    // The stream stays announced.
    let raw = cloud.hub.send_kept_raw(&id("a"), "raw", KeepDown::default()).await.unwrap();
    let kept = kept(&mut device).await;
    assert_eq!((kept.handle, kept.sequence, kept.tag), (1, 4, raw));
    assert_eq!(kept.content, Content::Raw(b"raw".to_vec()));
    assert!(kept.sent_at_ms.is_some());
    send_ack(&mut device, ack(1, 4, raw.0)).await;
    assert_eq!(cloud.next().await, ("a".to_owned(), raw, DownState::Delivered));
    let stats = cloud.hub.stats();
    assert_eq!((stats.kept_sent, stats.kept_sent_again, stats.kept_delivered), (4, 0, 3));
    // Nothing waits, so nothing is announced.
    drop(device);
    let mut device = connect(&cloud, "a").await;
    nothing_arrives(&mut device).await;
    assert!(cloud.try_next().is_none());
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_after_a_cut() {
    let cloud = start().await;
    let tags = send_all(&cloud, "a", &["one", "two", "three"]).await;
    let mut device = connect(&cloud, "a").await;
    let first = resume(&mut device).await;
    send_ack(&mut device, Ack { credit_to: 2, ..ack(1, 0, 0) }).await;
    assert_eq!(text(&mut device).await, said(1, "one", false));
    assert_eq!(text(&mut device).await, said(2, "two", false));
    drop(device);
    let mut device = connect(&cloud, "a").await;
    let again = resume(&mut device).await;
    assert_eq!(again, first);
    send_ack(&mut device, ack(1, 1, tags[0].0)).await;
    assert_eq!(text(&mut device).await, said(2, "two", true));
    assert_eq!(text(&mut device).await, said(3, "three", false));
    send_ack(&mut device, ack(1, 3, tags[2].0)).await;
    // A number of a stream is sent again on request only.
    send(&cloud, "a", "four").await;
    assert_eq!(text(&mut device).await, said(4, "four", false));
    rewind(&mut device, 1, 3).await;
    assert_eq!(text(&mut device).await, said(4, "four", true));
}

#[tokio::test]
async fn an_urgent_message_overtakes_a_lane_that_has_no_credit() {
    let cloud = start().await;
    send(&cloud, "a", "slow").await;
    let mut device = connect(&cloud, "a").await;
    assert_eq!(resume(&mut device).await.lane, Lane::Normal);
    send_ack(&mut device, Ack { credit_to: 0, ..ack(1, 0, 0) }).await;
    let urgent = KeepDown::default().with(|it| it.lane = Lane::Urgent);
    cloud.hub.send_kept(&id("a"), "alarm", urgent).await.unwrap();
    let announced = resume(&mut device).await;
    assert_eq!((announced.handle, announced.lane), (2, Lane::Urgent));
    send_ack(&mut device, ack(2, 0, 0)).await;
    let alarm = kept(&mut device).await;
    assert_eq!((alarm.handle, alarm.sequence), (2, 1));
    send_ack(&mut device, ack(1, 0, 0)).await;
    assert_eq!(text(&mut device).await, said(1, "slow", false));
    // Both wait: the urgent lane is announced first.
    drop(device);
    let mut device = connect(&cloud, "a").await;
    assert_eq!(resume(&mut device).await.lane, Lane::Urgent);
    assert_eq!(resume(&mut device).await.lane, Lane::Normal);
}

#[tokio::test]
async fn what_expires_or_is_replaced_is_told_to_both_ends() {
    let mut cloud = start().await;
    let expired = NewDown {
        id: Tag(7),
        lane: Lane::Normal,
        raw: true,
        body: "late".into(),
        at: 1,
        expires_at: 2,
        collapse_key: None,
    };
    let (a, limits) = (id("a"), DownLimits::default());
    let queued = cloud.device_queue.queue_message(&a, expired, None, limits);
    assert!(matches!(queued.await.unwrap(), Queued::Accepted { .. }));
    let keyed = || KeepDown::default().with(|it| it.collapse_key = Some("target".to_owned()));
    let old = cloud.hub.send_kept(&id("a"), "20", keyed()).await.unwrap();
    cloud.hub.send_kept(&id("a"), "21", keyed()).await.unwrap();
    let replaced = DownState::Dropped(DropReason::Replaced);
    assert_eq!(cloud.next().await, ("a".to_owned(), old, replaced));
    let mut device = connect(&cloud, "a").await;
    resume(&mut device).await;
    send_ack(&mut device, ack(1, 0, 0)).await;
    let first = Skip { handle: 1, from: 1, to: 1, reason: SkipReason::Expired };
    assert_eq!(skip(&mut device).await, first);
    let second = Skip { handle: 1, from: 2, to: 2, reason: SkipReason::Replaced };
    assert_eq!(skip(&mut device).await, second);
    assert_eq!(text(&mut device).await, said(3, "21", false));
    assert_eq!(cloud.next().await, ("a".to_owned(), Tag(7), DownState::Expired));
}

#[tokio::test]
async fn a_device_that_knows_more_than_the_store_gets_a_new_stream() {
    let mut cloud = start().await;
    let tags = send_all(&cloud, "a", &["one", "two"]).await;
    let mut device = connect(&cloud, "a").await;
    let before = resume(&mut device).await;
    send_ack(&mut device, ack(1, 40, 4)).await;
    let after = resume(&mut device).await;
    assert_ne!(after.stream, before.stream);
    assert_eq!((after.handle, after.oldest, after.newest), (2, 1, 2));
    // What the device sends before it knows is ignored.
    send_ack(&mut device, ack(1, 41, 0)).await;
    rewind(&mut device, 1, 41).await;
    send_ack(&mut device, ack(2, 0, 0)).await;
    assert_eq!(text(&mut device).await, said(1, "one", true));
    assert_eq!(text(&mut device).await, said(2, "two", true));
    send_ack(&mut device, ack(2, 2, 0)).await;
    for tag in tags {
        assert_eq!(cloud.next().await, ("a".to_owned(), tag, DownState::Delivered));
    }
}

#[tokio::test]
async fn a_newer_session_continues_and_the_older_one_sends_no_more() {
    let mut cloud = start().await;
    let tags = send_all(&cloud, "a", &["one", "two"]).await;
    let mut older = connect(&cloud, "a").await;
    resume(&mut older).await;
    send_ack(&mut older, ack(1, 0, 0)).await;
    assert_eq!(text(&mut older).await, said(1, "one", false));
    assert_eq!(text(&mut older).await, said(2, "two", false));
    // Read before the older session ends, this is true.
    send_ack(&mut older, ack(1, 1, 0)).await;
    assert_eq!(cloud.next().await, ("a".to_owned(), tags[0], DownState::Delivered));
    let mut newer = connect(&cloud, "a").await;
    assert_eq!(older.closed().await.code, CloseCode::Replaced);
    let resume = resume(&mut newer).await;
    assert_eq!((resume.oldest, resume.newest), (2, 2));
    send_ack(&mut newer, ack(1, 1, tags[0].0)).await;
    assert_eq!(text(&mut newer).await, said(2, "two", true));
    send(&cloud, "a", "three").await;
    assert_eq!(text(&mut newer).await, said(3, "three", false));
}

#[tokio::test]
async fn a_device_that_does_not_take_kept_messages_gets_none() {
    let cloud = start().await;
    let tag = send(&cloud, "a", "one").await;
    for hello in [None, Some(Capabilities::KEEP_ALIVE)] {
        let mut device = RawDevice::connect(cloud.address, "a").await;
        if let Some(capabilities) = hello {
            device.send(&UpFrame::Hello(capabilities)).await;
        }
        send(&cloud, "a", "two").await;
        nothing_arrives(&mut device).await;
        cloud.hub.send(&id("a"), "not kept").await.unwrap();
        assert_eq!(device.receive().await, Term::from("not kept"));
    }
    assert_eq!(state(&cloud, "a", tag).await, DownState::Queued);
}

#[tokio::test]
async fn a_device_that_breaks_the_rules_is_disconnected() {
    let cloud = start().await;
    send_all(&cloud, "a", &["one", "two"]).await;
    let rewind = |handle, to| UpFrame::Delivery(DeliveryFrame::Rewind { handle, to });
    let ack = |handle, up_to| UpFrame::Delivery(DeliveryFrame::Ack(ack(handle, up_to, 0)));
    for (answers, wrong) in [
        (false, ack(2, 0)),
        (false, rewind(1, 0)),
        (true, ack(1, 3)),
        (true, rewind(1, 3)),
        (true, ack(0, 0)),
    ] {
        let mut device = connect(&cloud, "a").await;
        resume(&mut device).await;
        if answers {
            device.send(&ack(1, 0)).await;
            kept(&mut device).await;
            kept(&mut device).await;
        }
        device.send(&wrong).await;
        assert_eq!(device.closed().await.code, CloseCode::ProtocolError, "{wrong:?}");
    }
    let mut device = RawDevice::connect(cloud.address, "b").await;
    device.send(&ack(1, 0)).await;
    assert_eq!(device.closed().await.code, CloseCode::ProtocolError);
    assert_eq!(cloud.hub.stats().kept_violations, 6);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let cloud = start().await;
    let a = id("a");
    let keep = KeepDown::default;
    for (wrong, option) in [
        (keep().with(|it| it.expires_in = Duration::from_millis(999)), "expires_in"),
        (keep().with(|it| it.expires_in = Duration::from_secs(31 * 86_400)), "expires_in"),
        (keep().with(|it| it.collapse_key = Some("k".repeat(129))), "collapse_key"),
        (keep().with(|it| it.collapse_key = Some(String::new())), "collapse_key"),
    ] {
        let refused = cloud.hub.send_kept(&a, "x", wrong).await.unwrap_err();
        let SendKeptError::Option { option: named, .. } = refused else { panic!("{refused}") };
        assert_eq!(named, option);
    }
    let big = vec![0; 1024 * 1024];
    let refused = cloud.hub.send_kept_raw(&a, big, keep()).await;
    assert!(matches!(refused, Err(SendKeptError::Encode(_))), "{refused:?}");
    let half = vec![0; 700 * 1024];
    cloud.hub.send_kept_raw(&a, half.clone(), keep()).await.unwrap();
    let refused = cloud.hub.send_kept_raw(&a, half, keep()).await;
    assert!(matches!(refused, Err(SendKeptError::QueueFull)), "{refused:?}");
}
