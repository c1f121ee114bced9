//! Requests in both directions.

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::messaging::{InProcess, NoReply, RequestError};
use fedecks_protocol::{
    Capabilities, CloseCode, Dialect, DownFrame, EncodedTerm, Limits, NoReplyReason, RequestFrame,
    RequestId, Term, UpFrame,
};
use fedecks_testing::cloud::CloudOptions;
use fedecks_testing::device::Device;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::within;

use crate::support::{Cloud, CloudExt, Obedient, assert_echo, id, start};

const LONG: Duration = Duration::from_secs(60);

fn encoded(term: impl Into<Term>) -> EncodedTerm {
    Dialect::Bincode.keep_term(&term.into(), &Limits::default()).unwrap()
}

/// A device that says that it answers requests.
async fn answering(cloud: &Cloud, name: &str) -> RawDevice {
    let mut device = cloud.connect(name).await;
    device.send(&UpFrame::Hello(Capabilities::REQUESTS)).await;
    device
}

/// The next frame about requests.
async fn next(device: &mut RawDevice) -> RequestFrame {
    match device.frame().await {
        DownFrame::Request(frame) => frame,
        other => panic!("not about requests: {other:?}"),
    }
}

/// The next frame is a request; returns its number and timeout.
async fn asked(device: &mut RawDevice, question: &str) -> (RequestId, u64) {
    match next(device).await {
        RequestFrame::Request { request, timeout_ms, content } => {
            assert_eq!(content, encoded(question));
            (request, timeout_ms)
        }
        other => panic!("not a request: {other:?}"),
    }
}

async fn ask(device: &mut RawDevice, number: u64, question: &str) {
    ask_within(device, number, question, 60_000).await;
}

async fn ask_within(device: &mut RawDevice, number: u64, question: &str, timeout_ms: u64) {
    let (request, content) = (RequestId(number), encoded(question));
    device.send(&UpFrame::Request(RequestFrame::Request { request, timeout_ms, content })).await;
}

async fn reply(device: &mut RawDevice, request: RequestId, answer: &str) {
    let content = encoded(answer);
    device.send(&UpFrame::Request(RequestFrame::Reply { request, content })).await;
}

#[tokio::test]
async fn a_device_answers() {
    let cloud = start().await;
    let mut device = answering(&cloud, "a").await;
    for number in 1..=3 {
        let device_id = id("a");
        let request = cloud.hub.request(&device_id, "led?", Duration::from_secs(5));
        let answered = async {
            let (request, timeout_ms) = asked(&mut device, "led?").await;
            assert_eq!(request, RequestId(number), "numbers are used once");
            assert!((1..=5_000).contains(&timeout_ms), "{timeout_ms}");
            reply(&mut device, request, "on").await;
        };
        let (answer, ()) = within(async { tokio::join!(request, answered) }).await;
        assert_eq!(answer, Ok(Term::from("on")));
    }
    let device_id = id("a");
    let request = cloud.hub.request(&device_id, "led?", LONG);
    let refused = async {
        let (request, _) = asked(&mut device, "led?").await;
        let frame = RequestFrame::no_reply(request, NoReplyReason::Failed, "no led");
        device.send(&UpFrame::Request(frame)).await;
    };
    let (answer, ()) = within(async { tokio::join!(request, refused) }).await;
    let expected = RequestError::NoReply(NoReply::new(NoReplyReason::Failed, "no led"));
    assert_eq!(answer, Err(expected));
    let request = cloud.hub.request(&device_id, "led?", LONG);
    let undecodable = async {
        let (request, _) = asked(&mut device, "led?").await;
        device.send_bytes(vec![0x05, u8::try_from(request.0).unwrap(), 0x0b]).await;
    };
    let (answer, ()) = within(async { tokio::join!(request, undecodable) }).await;
    let Err(RequestError::NoReply(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.reason, NoReplyReason::Undecodable);
}

#[tokio::test]
async fn nothing_is_sent_to_a_device_that_cannot_answer() {
    let cloud = start().await;
    let mut silent = cloud.connect("silent").await;
    let error = within(cloud.hub.request(&id("silent"), "led?", LONG)).await.unwrap_err();
    assert_eq!(error, RequestError::Unsupported);
    let mut old = cloud.connect("old").await;
    old.send(&UpFrame::Hello(Capabilities::KEEP_ALIVE)).await;
    assert_echo(&mut old, "has read it").await;
    let error = within(cloud.hub.request(&id("old"), "led?", LONG)).await.unwrap_err();
    assert_eq!(error, RequestError::Unsupported);
    for device in [&mut silent, &mut old] {
        ask(device, 1, "time?").await;
        assert_echo(device, "nothing came before this").await;
    }
    let error = within(cloud.hub.request(&id("away"), "led?", LONG)).await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
    let big = "x".repeat(2_000_000);
    let error = within(cloud.hub.request(&id("old"), &big, LONG)).await.unwrap_err();
    assert!(matches!(error, RequestError::Encode(_)), "{error:?}");
}

#[tokio::test]
async fn a_request_waits_for_what_a_device_says_first() {
    let cloud = start().await;
    let mut device = cloud.connect("a").await;
    let device_id = id("a");
    let request = cloud.hub.request(&device_id, "led?", LONG);
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        device.send(&UpFrame::Hello(Capabilities::REQUESTS)).await;
        let (request, _) = asked(&mut device, "led?").await;
        reply(&mut device, request, "on").await;
    };
    let (answer, ()) = within(async { tokio::join!(request, late) }).await;
    assert_eq!(answer, Ok(Term::from("on")));
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_cancelled() {
    let cloud = start().await;
    let mut device = answering(&cloud, "a").await;
    let timeout = Duration::from_millis(50);
    let error = within(cloud.hub.request(&id("a"), "led?", timeout)).await.unwrap_err();
    assert_eq!(error, RequestError::TimedOut);
    let (request, _) = asked(&mut device, "led?").await;
    assert_eq!(next(&mut device).await, RequestFrame::Cancel { request });
    reply(&mut device, request, "too late").await;

    let hub = cloud.hub.clone();
    let task = tokio::spawn(async move { hub.request(&id("a"), "led?", LONG).await });
    let (request, _) = asked(&mut device, "led?").await;
    task.abort();
    assert_eq!(next(&mut device).await, RequestFrame::Cancel { request });
    assert_echo(&mut device, "still there").await;
}

#[tokio::test]
async fn sixteen_requests_are_under_way_until_the_connection_is_lost() {
    let cloud = start().await;
    let mut device = answering(&cloud, "a").await;
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let hub = cloud.hub.clone();
        waiting.push(tokio::spawn(async move { hub.request(&id("a"), "led?", LONG).await }));
        asked(&mut device, "led?").await;
    }
    let error = within(cloud.hub.request(&id("a"), "led?", LONG)).await.unwrap_err();
    assert_eq!(error, RequestError::Busy);
    drop(device);
    for request in waiting {
        let answer = within(request).await.unwrap();
        assert_eq!(answer, Err(RequestError::OutcomeUnknown));
    }
}

#[tokio::test]
async fn the_handler_answers_a_device() {
    let cloud = start().await;
    let mut device = answering(&cloud, "a").await;
    ask(&mut device, 7, "time?").await;
    let (request, content) = (RequestId(7), encoded("noon"));
    assert_eq!(next(&mut device).await, RequestFrame::Reply { request, content });

    let refused = |number, reason, text| RequestFrame::no_reply(RequestId(number), reason, text);
    ask(&mut device, 8, "fail").await;
    let failed = refused(8, NoReplyReason::Failed, "out of order");
    assert_eq!(next(&mut device).await, failed);
    ask(&mut device, 9, "something else").await;
    assert_eq!(next(&mut device).await, refused(9, NoReplyReason::Unhandled, ""));
    device.send_bytes(vec![0x06, 10, 200, 0x0b]).await;
    assert_eq!(next(&mut device).await, refused(10, NoReplyReason::Undecodable, ""));
    ask(&mut device, 11, "too much").await;
    let RequestFrame::NoReply { reason: NoReplyReason::Failed, text, .. } = next(&mut device).await
    else {
        panic!("answered");
    };
    assert!(text.starts_with("cannot encode the answer"), "{text}");

    ask_within(&mut device, 12, "wait", 10).await;
    assert_echo(&mut device, "nothing, as it is too late").await;
    ask(&mut device, 13, "panic").await;
    assert_eq!(device.closed().await.code, CloseCode::InternalError);
}

#[tokio::test]
async fn the_library_asks_and_answers() {
    let cloud = start().await;
    let device = Device::logged_in(cloud.address, "a").await;
    let answer = within(device.client.request::<String>("time?", LONG)).await;
    assert_eq!(answer, Ok("noon".to_owned()));
    let mut requests = device.client.requests().unwrap();
    let device_id = id("a");
    let answer = cloud.hub.request(&device_id, &(1, 2), LONG);
    let answered = async {
        let request = requests.next().await.unwrap();
        let (one, two) = request.parse::<(u32, u32)>().unwrap();
        request.reply(&(one + two)).await.unwrap();
    };
    let (answer, ()) = within(async { tokio::join!(answer, answered) }).await;
    assert_eq!(answer.unwrap().parse(), Ok(3));
}

#[tokio::test]
async fn a_device_of_another_node_is_asked() {
    let backplane = Arc::new(InProcess::new());
    let node = async || {
        let backplane = Some(backplane.clone() as _);
        CloudOptions { backplane, ..CloudOptions::default() }.start(Obedient).await
    };
    let (one, two) = (node().await, node().await);
    let mut device = answering(&two, "a").await;
    let device_id = id("a");
    let asking = one.hub.request(&device_id, "led?", LONG);
    let answering = async {
        let (request, _) = asked(&mut device, "led?").await;
        let answer = RequestFrame::Reply { request, content: encoded("on") };
        device.send(&UpFrame::Request(answer)).await;
    };
    let (answer, ()) = within(async { tokio::join!(asking, answering) }).await;
    assert_eq!(answer.unwrap(), Term::from("on"));
    let error = within(one.hub.request(&id("b"), "led?", LONG)).await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
}
