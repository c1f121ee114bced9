//! Events that are delivered to a webhook's receiver, a server in this process.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, StatusCode};
use ring::hmac;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use warp::reply::{Reply, Response};
use warp::{Filter, reply};

use fedecks_server::App;
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::wait::{until, within};
use fedecks_testing::wall_clock::{DAY, WallClock};
use fedecks_testing::{PASSWORD, USER};

use crate::support::{METRICS, PROGRAM, Server, metrics, sample};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A delivery as it arrived.
pub(crate) struct Delivery {
    headers: HeaderMap,
    body: Bytes,
}

impl Delivery {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The status that the message asks for.
    fn wanted(&self) -> Option<u16> {
        let json = serde_json::from_slice::<Value>(&self.body).ok()?;
        json["message"].as_str()?.strip_prefix("answer ")?.parse().ok()
    }

    /// Checks the signature as the manual describes it.
    fn is_signed(&self) -> bool {
        let key = BASE64.decode(SECRET.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
        let head = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = [head.as_bytes(), &self.body].concat();
        let signature = self.header("webhook-signature").strip_prefix("v1,").unwrap();
        let signature = BASE64.decode(signature.as_bytes()).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &signature).is_ok()
    }
}

/// An answer whose body never ends; not a status of HTTP.
const ENDLESS: u16 = 299;

/// An answer that asks to wait for a second.
const LATER: u16 = 429;

/// Answers with a status that the test sets; 0 for no answer. The message `"answer NNN"` has the answer NNN.
pub(crate) struct Receiver {
    address: String,
    status: Arc<AtomicU16>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let status = Arc::new(AtomicU16::new(204));
        let (sender, deliveries) = mpsc::unbounded_channel();
        let answers = status.clone();
        let hook =
            warp::header::headers_cloned().and(warp::body::bytes()).then(move |headers, body| {
                let delivery = Delivery { headers, body };
                let status = delivery.wanted().unwrap_or(answers.load(Ordering::SeqCst));
                let _ = sender.send(delivery);
                response(status)
            });
        tokio::spawn(warp::serve(hook).incoming(listener).run());
        Self { address, status, deliveries }
    }

    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) async fn next(&mut self) -> Delivery {
        within(self.deliveries.recv()).await.unwrap()
    }

    /// The next one, for however long it takes.
    pub(crate) async fn next_at_last(&mut self) -> Delivery {
        self.deliveries.recv().await.unwrap()
    }

    /// Forgets what has arrived.
    pub(crate) fn forget(&mut self) {
        while self.deliveries.try_recv().is_ok() {}
    }

    /// The next one of this kind.
    async fn next_of(&mut self, kind: &str) -> Delivery {
        loop {
            let delivery = self.next().await;
            if delivery.json()["kind"] == kind {
                return delivery;
            }
        }
    }

    pub(crate) fn configuration(&self, more: &str) -> String {
        format!(
            "[[webhook]]\nname = \"crm\"\nurl = \"http://{}/hook\"\nsecret = \"{SECRET}\"\n{more}",
            self.address
        )
    }
}

async fn response(status: u16) -> Response {
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let mut response = if status == ENDLESS {
        let never = futures_util::stream::pending::<Result<Bytes, Infallible>>();
        reply::stream(never).into_response()
    } else {
        reply().into_response()
    };
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if status == LATER {
        response.headers_mut().insert("retry-after", HeaderValue::from(1));
    }
    response
}

/// A receiver that answers with `status`, a server whose webhook has these lines, and a device.
async fn start(status: u16, lines: &str) -> (Receiver, Server, Device) {
    let receiver = Receiver::start().await;
    receiver.answer(status);
    let server = Server::with(&receiver.configuration(lines)).await;
    let device = server.device("kitchen-1").await;
    (receiver, server, device)
}

#[tokio::test]
async fn events_are_delivered_signed_and_in_order() {
    let kinds = "kinds = [\"connected\", \"message\", \"raw-message\", \"revoked\"]";
    let (mut receiver, server, device) = start(204, kinds).await;
    for number in 0..20 {
        device.client.send(&number).await.unwrap();
    }
    device.client.send_raw(b"hello").await.unwrap();

    let connected = receiver.next().await;
    assert!(connected.is_signed());
    let json = connected.json();
    assert_eq!((&json["kind"], &json["device"]), (&"connected".into(), &"kitchen-1".into()));
    assert_eq!(json["id"], connected.header("webhook-id"));
    for number in 0..20 {
        let message = receiver.next().await;
        assert!(message.is_signed());
        assert_eq!(message.json()["message"], number);
    }
    assert_eq!(receiver.next().await.json()["bytes"], "aGVsbG8=");
    server.revoke_device("kitchen-1").await;
    assert_eq!(receiver.next().await.json()["kind"], "revoked");
}

#[tokio::test]
async fn a_delivery_has_the_id_that_the_api_answered() {
    let (mut receiver, server, _device) = start(204, "kinds = [\"sent\", \"raw-sent\"]").await;
    let http = server.http_as(&[fedecks_store::Role::Send]).await;
    for (path, content_type) in
        [("messages", "application/json"), ("raw-messages", "application/octet-stream")]
    {
        let path = format!("/api/v1/devices/kitchen-1/{path}");
        let answer = http.clone().header("content-type", content_type).post(&path, "1").await;
        let delivered = receiver.next().await;
        assert_eq!(answer.json()["id"], delivered.json()["message_id"], "{answer:?}");
    }
}

#[tokio::test]
async fn a_refused_event_is_delivered_again_after_a_kill() {
    let mut receiver = Receiver::start().await;
    receiver.answer(503);
    let lines = receiver.configuration("kinds = [\"message\"]");
    let mut server = CloudProcess::start(PROGRAM, &lines).await;
    let mut device = server.device("kitchen-1").await;
    device.client.send(&"first").await.unwrap();
    device.client.send(&"second").await.unwrap();
    let refused = receiver.next().await;
    assert_eq!(refused.json()["message"], "first");

    server.kill().await;
    receiver.answer(200);
    server.start_again().await;
    let again = receiver.next_of("message").await;
    assert_eq!(again.header("webhook-id"), refused.header("webhook-id"));
    assert_eq!(again.json()["message"], "first");
    assert_eq!(receiver.next().await.json()["message"], "second");
    device.until_connected().await;
}

#[tokio::test]
async fn a_second_server_does_not_deliver_an_event_again() {
    // No answer: the event is being delivered.
    let (mut receiver, server, device) = start(0, "kinds = [\"message\"]").await;
    device.client.send(&"once").await.unwrap();
    receiver.next().await;
    let second = App::start(&server.folder.path().join("cloud.toml")).await;
    let error = second.err().unwrap().to_string();
    assert!(error.contains("is in use by another server"), "{error}");
    assert!(receiver.deliveries.try_recv().is_err());
}

#[tokio::test]
async fn events_of_the_shutdown_are_delivered_after_the_next_start() {
    let kinds = "kinds = [\"connected\", \"disconnected\"]";
    let (mut receiver, server, _device) = start(204, kinds).await;
    let connected = receiver.next().await.json();
    receiver.answer(503);
    let _server = server.restart(|| receiver.answer(200)).await;
    let disconnected = receiver.next_of("disconnected").await.json();
    assert_eq!(disconnected["connection"], connected["connection"]);
    assert_eq!(disconnected["reason"], "the cloud closed the connection with code 1012");
}

#[tokio::test]
async fn an_event_is_delivered_once_the_status_says_so() {
    let (mut receiver, _server, device) = start(ENDLESS, "kinds = [\"message\"]").await;
    for text in ["first", "second"] {
        device.client.send(&text).await.unwrap();
        assert_eq!(receiver.next().await.json()["message"], text);
    }
}

#[tokio::test]
async fn a_receiver_that_sends_retry_after_gets_nothing_meanwhile() {
    // One at a time: the next one begins after the answer to this one.
    let lines = "kinds = [\"message\"]\nconcurrency = 1";
    let (mut receiver, server, device) = start(LATER, lines).await;
    let other = server.device("hall-1").await;
    device.client.send(&"too early").await.unwrap();
    receiver.next().await;
    let asked = Instant::now();
    receiver.answer(200);
    other.client.send(&"of another device").await.unwrap();
    receiver.next().await;
    assert!(asked.elapsed() > Duration::from_millis(900), "{:?}", asked.elapsed());
    receiver.next().await;
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_slow_devices_down() {
    let (mut receiver, server, device) = start(0, "timeout = \"1h\"\nkeep = 100").await;
    let other = server.device("hall-1").await;
    receiver.next().await;
    let began = Instant::now();
    for number in 0..3000 {
        device.client.send(&number).await.unwrap();
    }
    other.client.send(&"last").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // Both were sent at once; everything else waits or was dropped.
    receiver.next().await;
}

#[tokio::test]
async fn the_oldest_events_are_dropped_beyond_the_limit_in_bytes() {
    // Room for four.
    let lines = format!("kinds = [\"message\"]\nkeep_bytes = 60_000\n{METRICS}");
    let (mut receiver, server, device) = start(503, &lines).await;
    let http = Http::to(server.addresses()[1]);
    let big = "x".repeat(10_000);
    for number in 0..20 {
        device.client.send(&(number, &big)).await.unwrap();
    }
    let bytes = until(async || {
        let text = metrics(&http).await;
        let value = |name| sample(&text, &format!("fedecks_webhook_{name}{{webhook=\"crm\"}}"));
        let counts = (value("dropped_total"), value("pending"));
        (counts == (16.0, 4.0)).then(|| value("pending_bytes"))
    })
    .await;
    assert!((40_000.0..=60_000.0).contains(&bytes), "{bytes}");
    receiver.answer(200);
    for number in 17..20 {
        while receiver.next().await.json()["message"][0] != number {}
    }
}

#[tokio::test]
async fn bodies_in_flight_are_bounded_in_bytes() {
    // Room for two of three.
    let lines = "kinds = [\"message\"]\ntimeout = \"1h\"\nin_flight_bytes = 70_000";
    let (mut receiver, server, device) = start(0, lines).await;
    let others = [server.device("hall-1").await, server.device("hall-2").await];
    let big = "x".repeat(25_000);
    for device in others.iter().chain([&device]) {
        device.client.send(&big).await.unwrap();
    }
    receiver.next().await;
    receiver.next().await;
    let third = tokio::time::timeout(Duration::from_millis(500), receiver.deliveries.recv());
    assert!(third.await.is_err());
}

#[tokio::test]
async fn a_receiver_that_answers_410_gets_no_more_events() {
    let (mut receiver, _server, device) = start(410, "concurrency = 1").await;
    receiver.next().await;
    device.client.send(&"unwanted").await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(300), receiver.deliveries.recv());
    assert!(nothing.await.is_err());
}

#[tokio::test]
async fn a_clock_ahead_for_one_restart_drops_no_event() {
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let clock = WallClock::new();
    let lines = receiver.configuration("kinds = [\"connected\"]");
    let program = clock.of(CloudProgram::configured(PROGRAM, &lines));
    program.add_account(USER, PASSWORD).await;
    let mut server = program.serve(&[]).await;
    let device = server.device("kitchen-1").await;
    let event = receiver.next().await.header("webhook-id").to_owned();
    device.client.shutdown().await;
    server.kill().await;
    // Ten times `max_age`.
    clock.set(40 * DAY, false);
    server.start_again().await;
    for _ in 0..3 {
        let again = receiver.next().await;
        assert_eq!(again.header("webhook-id"), event);
    }
    server.kill().await;
    clock.set(0, true);
    receiver.answer(204);
    server.start_again().await;
    loop {
        let delivery = receiver.next().await;
        let age = delivery.header("webhook-timestamp").parse::<u64>().unwrap();
        assert_eq!(delivery.header("webhook-id"), event);
        if age <= fedecks_store::unix_now() {
            break;
        }
    }
}
