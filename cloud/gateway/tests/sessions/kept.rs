//! Kept messages of devices, and the end-to-end keep-alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fedecks_cloud::messaging::{Effects, KeptContent, KeptMessage, KeptOutcome};
use fedecks_cloud::store::{Effects as Stored, LogQuery, LoggedContent, NewLogged, StreamPosition};
use fedecks_cloud::{Decision, Handler, Login, Outcome, Session};
use fedecks_protocol::{
    Ack, Capabilities, CloseCode, Content, DeliveryFrame, Dialect, DownFrame, Kept, Lane, Limits,
    Resume, Skip, SkipReason, StreamId, Tag, Term, UpFrame,
};
use fedecks_testing::cloud::Cloud;
use fedecks_testing::raw_device::RawDevice;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::support::id;

pub(crate) const STREAM: StreamId = StreamId([1; 16]);

/// Handles each message as its bytes say.
pub(crate) struct Instructed {
    calls: UnboundedSender<(String, bool)>,
    later: Arc<AtomicU32>,
    /// Lets the handler go on with a message that says so.
    gate: Arc<Notify>,
}

impl Instructed {
    pub(crate) fn new(calls: UnboundedSender<(String, bool)>, gate: &Arc<Notify>) -> Self {
        Self { calls, later: Arc::default(), gate: gate.clone() }
    }
}

impl Handler for Instructed {
    async fn authenticate(&self, _: Login<'_>) -> Decision {
        Decision::Reject
    }

    async fn on_message(&self, _: &Session, message: Term) -> Outcome {
        let _ = self.calls.send((format!("{message:?}"), false));
        Outcome::Ok
    }

    async fn on_kept(&self, _: &Session, message: KeptMessage) -> KeptOutcome {
        let KeptContent::Raw(bytes) = message.content else { return KeptOutcome::done() };
        let text = String::from_utf8(bytes).unwrap();
        let _ = self.calls.send((text.clone(), message.redelivered));
        match &*text {
            "reject" => KeptOutcome::Rejected { reason: "as requested".into() },
            "panic" => panic!("as requested"),
            "stop" => Outcome::stop().into(),
            "nothing" => KeptOutcome::done(),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                KeptOutcome::done()
            }
            "later" if self.later.fetch_add(1, Ordering::SeqCst) < 2 => KeptOutcome::Later,
            _ => {
                if text == "held" {
                    self.gate.notified().await;
                }
                let content = LoggedContent::Json(format!("{text:?}").into());
                let log = NewLogged { redelivered: false, sent_at_ms: None, at: 1, content };
                let effects = Effects::new(Stored { log: Some(log), enqueue: Vec::new() });
                let panics = text == "panic when stored";
                effects.then(move || assert!(!panics, "as requested")).into()
            }
        }
    }
}

pub(crate) async fn start() -> Cloud<(String, bool)> {
    start_gated().await.0
}

/// Also returns what lets a held message go on.
pub(crate) async fn start_gated() -> (Cloud<(String, bool)>, Arc<Notify>) {
    let gate = Arc::default();
    (Cloud::start(|calls| Instructed::new(calls, &gate)).await, gate)
}

pub(crate) fn resume(oldest: u64) -> UpFrame {
    resume_of(1, STREAM, oldest)
}

pub(crate) fn resume_of(handle: u64, stream: StreamId, oldest: u64) -> UpFrame {
    let lane = Lane::Normal;
    UpFrame::Delivery(DeliveryFrame::Resume(Resume { handle, lane, stream, oldest, newest: 99 }))
}

pub(crate) fn kept(sequence: u64, text: &str, redelivered: bool) -> UpFrame {
    kept_content(sequence, Content::Raw(text.as_bytes().to_vec()), redelivered)
}

fn kept_content(sequence: u64, content: Content, redelivered: bool) -> UpFrame {
    UpFrame::Delivery(DeliveryFrame::Kept(Kept {
        handle: 1,
        sequence,
        tag: Tag(1000 + sequence),
        sent_at_ms: None,
        redelivered,
        content,
    }))
}

pub(crate) async fn ack(device: &mut RawDevice) -> Ack {
    match device.frame().await {
        DownFrame::Delivery(DeliveryFrame::Ack(ack)) => ack,
        other => panic!("expected an acknowledgement: {other:?}"),
    }
}

pub(crate) async fn ack_of(device: &mut RawDevice, up_to: u64) -> Ack {
    loop {
        let ack = ack(device).await;
        if ack.up_to >= up_to {
            assert_eq!(ack.up_to, up_to);
            return ack;
        }
    }
}

pub(crate) async fn logged(cloud: &Cloud<(String, bool)>) -> Vec<String> {
    let all = LogQuery { limit: 1000, ..LogQuery::default() };
    let log = cloud.messages.logged(&all).await.unwrap();
    let text = |content: LoggedContent| match content {
        LoggedContent::Json(json) => String::from_utf8(json.to_vec()).unwrap(),
        LoggedContent::Raw(_) => panic!("not JSON"),
    };
    log.into_iter().map(|logged| text(logged.message.content)).collect()
}

#[tokio::test]
async fn what_is_acknowledged_is_stored_and_a_repetition_is_removed() {
    let mut cloud = start().await;
    let mut device =
        RawDevice::dial(cloud.address, "a", fedecks_testing::raw_device::fresh_token("a"))
            .await
            .unwrap();
    let offer = device.welcome().await.delivery.unwrap();
    let all = Capabilities::ALL;
    assert_eq!(offer.capabilities, all);
    assert_eq!(offer.installation, cloud.messages.installation().await.unwrap());
    device.send(&resume(1)).await;
    assert_eq!(ack(&mut device).await.up_to, 0);
    for sequence in 1..=3 {
        device.send(&kept(sequence, &format!("m{sequence}"), false)).await;
    }
    let last = ack_of(&mut device, 3).await;
    assert_eq!((last.tag, last.credit_to, &last.rejected[..]), (Tag(1003), 67, &[][..]));
    assert_eq!(logged(&cloud).await, ["\"m1\"", "\"m2\"", "\"m3\""]);
    let position = StreamPosition { stream: STREAM, lane: Lane::Normal, up_to: 3, tag: Tag(1003) };
    assert_eq!(cloud.messages.open_streams(&id("a")).await.unwrap().positions, [position]);
    drop(device);

    // The acknowledgement was lost, and the device continues where it thinks that it is.
    let mut device = RawDevice::connect(cloud.address, "a").await;
    device.send(&resume(2)).await;
    let position = ack(&mut device).await;
    assert_eq!((position.up_to, position.tag), (3, Tag(1003)));
    device.send(&kept(4, "m4", true)).await;
    ack_of(&mut device, 4).await;
    for (text, redelivered) in [("m1", false), ("m2", false), ("m3", false), ("m4", true)] {
        assert_eq!(cloud.next().await, (text.to_owned(), redelivered));
    }
    assert_eq!(cloud.try_next(), None);
    assert_eq!((cloud.hub.stats().kept_received, cloud.hub.stats().kept_redelivered), (4, 1));
}

#[tokio::test]
async fn two_sessions_of_a_device_store_a_message_once() {
    let cloud = start().await;
    let mut older = RawDevice::connect(cloud.address, "a").await;
    older.send(&resume(1)).await;
    ack(&mut older).await;
    // The newer one gets the same position, and both send the same message.
    let mut newer = RawDevice::connect(cloud.address, "a").await;
    newer.send(&resume(1)).await;
    ack(&mut newer).await;
    newer.send(&kept(1, "once", false)).await;
    ack_of(&mut newer, 1).await;
    assert_eq!(logged(&cloud).await, ["\"once\""]);
}

#[tokio::test]
async fn rejected_and_voided_numbers_are_passed_over() {
    let mut cloud = start().await;
    let mut device = RawDevice::connect(cloud.address, "a").await;
    device.send(&resume(1)).await;
    ack(&mut device).await;
    device.send(&kept(1, "reject", false)).await;
    let skip = Skip { handle: 1, from: 2, to: 5, reason: SkipReason::Expired };
    device.send(&UpFrame::Delivery(DeliveryFrame::Skip(skip))).await;
    device.send(&kept(6, "m6", false)).await;
    let last = ack_of(&mut device, 6).await;
    assert_eq!(last.rejected, [1]);
    assert_eq!(cloud.next().await.0, "reject");
    assert_eq!(logged(&cloud).await, ["\"m6\""]);
    assert_eq!(cloud.hub.stats().kept_rejected, 1);

    // Repeated until the device no longer has it.
    for (oldest, rejected) in [(1, &[1][..]), (1, &[1]), (2, &[]), (1, &[])] {
        let mut device = RawDevice::connect(cloud.address, "a").await;
        device.send(&resume(oldest)).await;
        let ack = ack(&mut device).await;
        assert_eq!((ack.up_to, &ack.rejected[..]), (6, rejected));
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_decoded_is_rejected() {
    let cloud = start().await;
    let mut device = RawDevice::connect(cloud.address, "a").await;
    device.send(&resume(1)).await;
    ack(&mut device).await;
    // Deeper than the cloud decodes.
    let deep = (0..100).fold(Term::Nil, |inner, _| Term::List(vec![inner]));
    let limits = Limits { max_depth: Limits::MAX_DEPTH, ..Limits::default() };
    let content = Content::Term(Dialect::Bincode.keep_term(&deep, &limits).unwrap());
    device.send(&kept_content(1, content, false)).await;
    device.send(&kept(2, "m2", false)).await;
    assert_eq!(ack_of(&mut device, 2).await.rejected, [1]);
    assert_eq!(logged(&cloud).await, ["\"m2\""]);
    let stats = cloud.hub.stats();
    assert_eq!((stats.kept_rejected, stats.undecodable), (1, 1));
}

#[tokio::test]
async fn a_message_for_later_comes_again_and_holds_its_lane() {
    let mut cloud = start().await;
    let mut device = RawDevice::connect(cloud.address, "a").await;
    device.send(&resume(1)).await;
    ack(&mut device).await;
    device.send(&kept(1, "first", false)).await;
    device.send(&kept(2, "later", false)).await;
    device.send(&kept(3, "after it", false)).await;
    let mut rewinds = 0;
    let last = loop {
        match device.frame().await {
            DownFrame::Delivery(DeliveryFrame::Rewind { handle: 1, to }) => {
                assert_eq!(to, 1);
                rewinds += 1;
                device.send(&kept(2, "later", true)).await;
                device.send(&kept(3, "after it", true)).await;
            }
            DownFrame::Delivery(DeliveryFrame::Ack(ack)) if ack.up_to == 3 => break ack,
            DownFrame::Delivery(DeliveryFrame::Ack(ack)) => assert!(ack.up_to <= 1, "{ack:?}"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((rewinds, last.tag), (2, Tag(1003)));
    let mut texts = Vec::new();
    while let Some((text, _)) = cloud.try_next() {
        texts.push(text);
    }
    assert_eq!(texts, ["first", "later", "later", "later", "after it"]);
}

#[tokio::test]
async fn a_message_is_rejected_after_the_handler_panicked_three_times() {
    let mut cloud = start().await;
    for _ in 0..3 {
        let mut device = RawDevice::connect(cloud.address, "a").await;
        device.send(&resume(1)).await;
        ack(&mut device).await;
        device.send(&kept(1, "panic", false)).await;
        assert_eq!(device.closed().await.code, CloseCode::InternalError);
    }
    let mut device = RawDevice::connect(cloud.address, "a").await;
    device.send(&resume(1)).await;
    ack(&mut device).await;
    device.send(&kept(1, "panic", true)).await;
    device.send(&kept(2, "fine", false)).await;
    assert_eq!(ack_of(&mut device, 2).await.rejected, [1]);
    let mut texts = Vec::new();
    while let Some((text, _)) = cloud.try_next() {
        texts.push(text);
    }
    assert_eq!(texts, ["panic", "panic", "panic", "fine"]);
}

#[tokio::test]
async fn what_breaks_the_rules_ends_the_connection() {
    let cloud = start().await;
    let violations = [
        vec![kept(1, "of no stream", false)],
        vec![resume(1), resume(1)],
        vec![resume(1), kept(2, "a number is missing", false)],
        vec![resume(1), UpFrame::Delivery(DeliveryFrame::Rewind { handle: 1, to: 0 })],
    ];
    for frames in violations {
        let mut device = RawDevice::connect(cloud.address, "a").await;
        for frame in &frames {
            device.send(frame).await;
        }
        assert_eq!(device.closed().await.code, CloseCode::ProtocolError, "{frames:?}");
    }
    assert_eq!(cloud.hub.stats().kept_violations, 4);
}

#[tokio::test]
async fn a_keep_alive_is_answered_after_everything_before_it() {
    let mut cloud = start().await;
    let mut device = RawDevice::connect(cloud.address, "a").await;
    device.say("before").await;
    device.send(&UpFrame::KeepAlive(7)).await;
    assert_eq!(device.frame().await, DownFrame::Alive(7));
    assert!(cloud.try_next().is_some(), "it was handled before");
}

#[tokio::test]
async fn the_library_s_messages_survive_a_silent_cut() {
    use fedecks_device::kept::{Keep, Settled};
    use fedecks_testing::tcp_relay::{Link, NewConnections, TcpRelay};

    let mut cloud = Cloud::start(crate::support::Obedient).await;
    let relay = TcpRelay::start(cloud.address).await;
    let directory = tempfile::tempdir().unwrap();
    let url = format!("ws://{}", relay.address).parse().unwrap();
    let (client, _events) = fedecks_device::Client::builder(url, id("a"))
        .data_dir(directory.path())
        .pong_deadline(Duration::from_millis(500))
        .start()
        .await
        .unwrap();
    client
        .login(fedecks_testing::device::credentials(
            fedecks_testing::USER,
            fedecks_testing::PASSWORD,
        ))
        .await
        .unwrap();
    let mut waiting = Vec::new();
    for number in 0..300_i32 {
        if number == 100 {
            relay.set(Link::Cut(NewConnections::Refused));
        }
        if number == 200 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            relay.set(Link::Up);
        }
        let keep = Keep::in_memory();
        waiting.push(client.send_kept(&number, keep).await.unwrap());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for kept in waiting {
        assert_eq!(kept.settled().await, Ok(Settled::Delivered));
    }
    let mut expected = 0;
    while let Some(called) = cloud.try_next() {
        if let crate::support::Called::In(_, term) = called {
            assert_eq!(term, Term::from(expected));
            expected += 1;
        }
    }
    assert_eq!(expected, 300);
    client.shutdown().await;
}
