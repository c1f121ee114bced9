//! Events that are delivered to a webhook's receiver, a server in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::http::Http;
use fedecks_testing::wait::{until, within};

use crate::support::{METRICS, PROGRAM, Server, metrics, sample};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A delivery as it arrived.
struct Delivery {
    headers: HeaderMap,
    body: Bytes,
}

impl Delivery {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Checks the signature as the manual describes it.
    fn is_signed(&self) -> bool {
        let key = BASE64.decode(SECRET.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
        let signed = [
            self.header("webhook-id").as_bytes(),
            b".",
            self.header("webhook-timestamp").as_bytes(),
            b".",
            &self.body[..],
        ]
        .concat();
        let signature = self.header("webhook-signature").strip_prefix("v1,").unwrap();
        let signature = BASE64.decode(signature.as_bytes()).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &signature).is_ok()
    }
}

/// An answer whose body never ends; not a status of HTTP.
const ENDLESS: u16 = 299;

/// An answer that asks to wait for a second.
const LATER: u16 = 429;

/// Answers with a status that the test sets; 0 for no answer.
struct Receiver {
    address: String,
    status: Arc<Mutex<u16>>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let status = Arc::new(Mutex::new(204));
        let (sender, deliveries) = mpsc::unbounded_channel();
        let answers = status.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answers) = (sender.clone(), answers.clone());
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (sender, answers) = (sender.clone(), answers.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let status = *answers.lock().unwrap();
                        let _ = sender.send(Delivery { headers: head.headers, body });
                        if status == 0 {
                            std::future::pending::<()>().await;
                        }
                        let body = if status == ENDLESS {
                            StreamBody::new(futures_util::stream::pending()).boxed()
                        } else {
                            BoxBody::new(Full::new(Bytes::new()))
                        };
                        let mut answer = Response::new(body);
                        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
                        if status == LATER {
                            answer.headers_mut().insert("retry-after", HeaderValue::from(1));
                        }
                        Ok::<_, hyper::Error>(answer)
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    let _ = serving.await;
                });
            }
        });
        Self { address, status, deliveries }
    }

    fn answer(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    async fn next(&mut self) -> Delivery {
        within(self.deliveries.recv()).await.unwrap()
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

    fn configuration(&self, more: &str) -> String {
        format!(
            "[[webhook]]\nname = \"crm\"\nurl = \"http://{}/hook\"\nsecret = \"{SECRET}\"\n{more}",
            self.address
        )
    }
}

#[tokio::test]
async fn events_are_delivered_signed_and_in_order() {
    let mut receiver = Receiver::start().await;
    let kinds = "kinds = [\"connected\", \"message\", \"raw-message\", \"revoked\"]";
    let server = Server::with(&receiver.configuration(kinds)).await;
    let device = server.device("kitchen-1").await;
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
async fn events_of_the_shutdown_are_delivered_after_the_next_start() {
    let mut receiver = Receiver::start().await;
    let kinds = "kinds = [\"connected\", \"disconnected\"]";
    let server = Server::with(&receiver.configuration(kinds)).await;
    let _device = server.device("kitchen-1").await;
    let connected = receiver.next().await.json();
    receiver.answer(503);
    let _server = server.restart(|| receiver.answer(200)).await;
    let disconnected = receiver.next_of("disconnected").await.json();
    assert_eq!(disconnected["connection"], connected["connection"]);
    assert_eq!(disconnected["reason"], "the cloud closed the connection with code 1012");
}

#[tokio::test]
async fn an_event_is_delivered_once_the_status_says_so() {
    let mut receiver = Receiver::start().await;
    receiver.answer(ENDLESS);
    let server = Server::with(&receiver.configuration("kinds = [\"message\"]")).await;
    let device = server.device("kitchen-1").await;
    for text in ["first", "second"] {
        device.client.send(&text).await.unwrap();
        assert_eq!(receiver.next().await.json()["message"], text);
    }
}

#[tokio::test]
async fn a_receiver_that_sends_retry_after_gets_nothing_meanwhile() {
    let mut receiver = Receiver::start().await;
    receiver.answer(LATER);
    // One at a time: the next one begins after the answer to this one.
    let configuration = receiver.configuration("kinds = [\"message\"]\nconcurrency = 1");
    let server = Server::with(&configuration).await;
    let device = server.device("kitchen-1").await;
    let other = server.device("hall-1").await;
    device.client.send(&"too early").await.unwrap();
    receiver.next().await;
    let asked = std::time::Instant::now();
    receiver.answer(200);
    other.client.send(&"of another device").await.unwrap();
    receiver.next().await;
    assert!(asked.elapsed() > Duration::from_millis(900), "{:?}", asked.elapsed());
    receiver.next().await;
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_slow_devices_down() {
    let mut receiver = Receiver::start().await;
    receiver.answer(0);
    let server = Server::with(&receiver.configuration("timeout = \"1h\"\nkeep = 100")).await;
    let device = server.device("kitchen-1").await;
    let other = server.device("hall-1").await;
    receiver.next().await;
    let began = std::time::Instant::now();
    for number in 0..3000 {
        device.client.send(&number).await.unwrap();
    }
    other.client.send(&"last").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // Both were sent at once; everything else waits or was dropped.
    let mut first: HashMap<String, Value> = HashMap::new();
    let next = receiver.next().await.json();
    first.insert(next["device"].to_string(), next);
    assert_eq!(first.len(), 1);
}

#[tokio::test]
async fn the_oldest_events_are_dropped_beyond_the_limit_in_bytes() {
    let mut receiver = Receiver::start().await;
    receiver.answer(503);
    // Room for four.
    let webhook = receiver.configuration("kinds = [\"message\"]\nkeep_bytes = 50_000\n");
    let server = Server::with(&format!("{webhook}{METRICS}")).await;
    let http = Http::to(server.addresses()[1]);
    let device = server.device("kitchen-1").await;
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
    assert!((40_000.0..=50_000.0).contains(&bytes), "{bytes}");
    receiver.answer(200);
    for number in 17..20 {
        while receiver.next().await.json()["message"][0] != number {}
    }
}

#[tokio::test]
async fn a_receiver_that_answers_410_gets_no_more_events() {
    let mut receiver = Receiver::start().await;
    receiver.answer(410);
    let server = Server::with(&receiver.configuration("concurrency = 1")).await;
    let device = server.device("kitchen-1").await;
    receiver.next().await;
    device.client.send(&"unwanted").await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(300), receiver.deliveries.recv());
    assert!(nothing.await.is_err());
}
