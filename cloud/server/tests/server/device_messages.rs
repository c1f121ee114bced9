//! Kept messages to devices through the API: queued, listed, taken back, acknowledged, and recognized when they are
//! repeated.

use fedecks_protocol::{Ack, Capabilities, DeliveryFrame, DownFrame, Kept, Tag, UpFrame};
use fedecks_store::Role;
use fedecks_testing::http::{Answer, Http};
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{METRICS, Server, metrics, problem, sample};

pub(crate) const MESSAGES: &str = "/api/v1/devices/kitchen-1/messages";

const BYTES: &str = "application/octet-stream";

/// The device is known, and away.
pub(crate) async fn known(server: &Server) -> Http {
    drop(server.device("kitchen-1").await);
    let http = server.http_as(Role::ALL).await.json();
    // It is in the store about a second after its login.
    until(async || {
        let device = http.get("/api/v1/devices/kitchen-1").await;
        (device.status == StatusCode::OK && device.json()["connected"] == false).then_some(())
    })
    .await;
    http
}

/// A device that takes kept messages.
pub(crate) async fn takes_kept(server: &Server) -> RawDevice {
    server.allow_reregistration("kitchen-1").await;
    let mut device = RawDevice::login(server.address, "kitchen-1").await;
    device.send(&UpFrame::Hello(Capabilities::KEPT_MESSAGES)).await;
    device
}

pub(crate) async fn delivery(device: &mut RawDevice) -> DeliveryFrame {
    let frame = device.frame().await;
    let DownFrame::Delivery(frame) = frame else { panic!("not about kept messages: {frame:?}") };
    frame
}

/// Takes the Resume, and says that nothing has arrived before.
async fn resume(device: &mut RawDevice) -> u64 {
    let frame = delivery(device).await;
    let DeliveryFrame::Resume(resume) = frame else { panic!("expected Resume: {frame:?}") };
    acknowledge(device, resume.handle, 0, Vec::new()).await;
    resume.handle
}

async fn kept(device: &mut RawDevice) -> Kept {
    let frame = delivery(device).await;
    let DeliveryFrame::Kept(kept) = frame else { panic!("expected Kept: {frame:?}") };
    kept
}

pub(crate) async fn acknowledge(
    device: &mut RawDevice,
    handle: u64,
    up_to: u64,
    rejected: Vec<u64>,
) {
    let (credit_to, credit_bytes) = (up_to + 8, 32 * 1024);
    let ack = Ack { handle, up_to, tag: Tag(0), credit_to, credit_bytes, rejected };
    device.send(&UpFrame::Delivery(DeliveryFrame::Ack(ack))).await;
}

/// Keeps a message, and returns its id.
pub(crate) async fn keep(http: &Http, query: &str, body: &str) -> String {
    accepted(&http.post(&format!("{MESSAGES}?keep=true{query}"), body.to_owned()).await)
}

pub(crate) fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let json = answer.json();
    assert_eq!((&json["assurance"], &json["state"]), (&json!("kept"), &json!("queued")));
    json["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn get(http: &Http, id: &str) -> Value {
    let answer = http.get(&format!("{MESSAGES}/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

pub(crate) async fn cancel(http: &Http, id: &str) -> Answer {
    http.ask(Method::DELETE, &format!("{MESSAGES}/{id}"), "").await
}

#[tokio::test]
async fn a_kept_message_waits_arrives_and_is_settled() {
    let server = Server::start().await;
    let http = known(&server).await;
    let kinds = "?kind=sent&kind=raw-sent&kind=message-settled";
    let mut stream = http.events(&format!("/api/v1/events{kinds}")).await;
    let first = keep(&http, "", "{\"fan\": \"on\"}").await;
    let queued = get(&http, &first).await;
    assert_eq!((&queued["id"], &queued["state"]), (&json!(first), &json!("queued")));
    assert_eq!((&queued["reason"], &queued["settled_at"]), (&Value::Null, &Value::Null));
    assert_eq!(queued["lane"], "normal");
    let bytes = server.http_as(&[Role::Send]).await.header("content-type", BYTES);
    let raw = "/api/v1/devices/kitchen-1/raw-messages?keep=true&lane=urgent&expires_in=60";
    let second = accepted(&bytes.post(raw, &b"\0\xff"[..]).await);
    for (id, kind) in [(&first, "sent"), (&second, "raw-sent")] {
        let event = stream.next().await;
        assert_eq!((&event["kind"], &event["message_id"]), (&json!(kind), &json!(id)));
        assert_eq!(event["assurance"], "kept");
    }

    let mut device = takes_kept(&server).await;
    let urgent = resume(&mut device).await;
    let normal = resume(&mut device).await;
    let arrived = kept(&mut device).await;
    assert_eq!((arrived.tag.to_string(), arrived.sequence), (second.clone(), 1));
    assert_eq!(kept(&mut device).await.tag.to_string(), first);
    assert_eq!(get(&http, &first).await["state"], "sent");
    assert_eq!(problem(&cancel(&http, &first).await), "409 already-sent");
    acknowledge(&mut device, urgent, 1, vec![1]).await;
    acknowledge(&mut device, normal, 1, Vec::new()).await;
    for (id, state) in [(&second, "rejected"), (&first, "delivered")] {
        let event = stream.next().await;
        assert_eq!((&event["kind"], &event["message_id"]), (&json!("message-settled"), &json!(id)));
        assert_eq!((&event["state"], &event["reason"]), (&json!(state), &Value::Null));
        assert_eq!(event["device"], "kitchen-1");
        let settled = get(&http, id).await;
        assert_eq!(settled["state"], state);
        assert!(settled["settled_at"].is_string(), "{settled}");
    }
    assert_eq!(problem(&cancel(&http, &first).await), "409 already-settled");

    // What comes while it is connected arrives at once.
    let third = keep(&http, "", "3").await;
    assert_eq!(kept(&mut device).await.tag.to_string(), third);
    let all = http.get(MESSAGES).await.json();
    let ids: Vec<_> = all["messages"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&json!(third), &json!(second), &json!(first)]);
    assert_eq!(all["next"], Value::Null);
    let page = http.get(&format!("{MESSAGES}?limit=2")).await.json();
    let next = page["next"].as_str().unwrap();
    let rest = http.get(&format!("{MESSAGES}?limit=2&cursor={next}")).await.json();
    assert_eq!((&rest["messages"][0]["id"], &rest["next"]), (&json!(first), &Value::Null));

    let sent = http.post(MESSAGES, "1").await.json();
    assert_eq!((&sent["assurance"], &sent["state"]), (&json!("sent"), &Value::Null));
    let unknown = http.get(&format!("{MESSAGES}/{}", sent["id"].as_str().unwrap())).await;
    assert_eq!(problem(&unknown), "404 message-not-found");
}

#[tokio::test]
async fn a_message_is_taken_back_replaced_or_forgotten() {
    let server = Server::start().await;
    let http = known(&server).await;
    let mut stream = http.events("/api/v1/events?kind=message-settled").await;
    let mut dropped = async |id: &str, reason: &str| {
        let event = stream.next().await;
        assert_eq!((&event["message_id"], &event["state"]), (&json!(id), &json!("dropped")));
        assert_eq!(event["reason"], reason);
    };
    let old = keep(&http, "&collapse_key=target", "1").await;
    let new = keep(&http, "&collapse_key=target&lane=urgent", "2").await;
    dropped(&old, "replaced").await;
    let replaced = get(&http, &old).await;
    assert_eq!((&replaced["state"], &replaced["reason"]), (&json!("dropped"), &json!("replaced")));
    let reader = server.http_as(&[Role::Read, Role::Admin]).await;
    assert_eq!(problem(&cancel(&reader, &new).await), "403 role-missing");
    assert_eq!(cancel(&http, &new).await.status, StatusCode::NO_CONTENT);
    dropped(&new, "cancelled").await;
    assert_eq!(problem(&cancel(&http, &new).await), "409 already-settled");
    for id in ["0000000000000007", "x", "-", "%00"] {
        assert_eq!(problem(&cancel(&http, id).await), "404 message-not-found", "{id}");
    }
    let audited = until(async || {
        let page = http.get("/api/v1/audit?class=messages").await.json();
        let entries = page["entries"].as_array().unwrap().clone();
        (entries.len() == 3).then_some(entries)
    })
    .await;
    let actions: Vec<_> = audited.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["message-cancelled", "message-sent", "message-sent"]);
    assert_eq!(audited[0]["detail"], new);

    let last = keep(&http, "", "3").await;
    let forgotten = http.ask(Method::DELETE, "/api/v1/devices/kitchen-1", "").await;
    assert_eq!(forgotten.status, StatusCode::NO_CONTENT, "{forgotten:?}");
    dropped(&last, "re-registered").await;
    for answer in [
        http.get(MESSAGES).await,
        http.get(&format!("{MESSAGES}/{last}")).await,
        cancel(&http, &last).await,
        http.post(&format!("{MESSAGES}?keep=true"), "4").await,
    ] {
        assert_eq!(problem(&answer), "404 device-not-found");
    }
}

#[tokio::test]
async fn a_repeated_request_has_the_same_answer() {
    let server = Server::start().await;
    let http = known(&server).await;
    let keyed = http.clone().header("idempotency-key", "\"order-7\"");
    let (id, kept) = (keep(&keyed, "", "[1, 2]").await, format!("{MESSAGES}?keep=true"));
    assert_eq!(keep(&keyed, "", "[1,2]").await, id, "JSON with other spaces is the same");
    for (query, body) in [("", "[1, 3]"), ("&lane=urgent", "[1, 2]"), ("&expires_in=9", "[1, 2]")] {
        let other = keyed.post(&format!("{kept}{query}"), body).await;
        assert_eq!(problem(&other), "422 idempotency-key-reused", "{query} {body}");
    }
    let collapsing = keyed.post(&format!("{kept}&collapse_key=a"), "[1, 2]").await;
    assert_eq!(problem(&collapsing), "422 idempotency-key-reused");
    // Of another caller it is another key.
    let other = server.http_as(&[Role::Send]).await.json().header("idempotency-key", "\"order-7\"");
    assert_ne!(keep(&other, "", "[1, 2]").await, id);
    // It is the same after the message was settled.
    assert_eq!(cancel(&http, &id).await.status, StatusCode::NO_CONTENT);
    assert_eq!(keep(&keyed, "", "[1, 2]").await, id);
    let all = http.get(MESSAGES).await.json();
    assert_eq!(all["messages"].as_array().unwrap().len(), 2);
    let sent = http.get("/api/v1/audit?class=messages&by=x").await.json();
    assert_eq!(sent["entries"], json!([]));

    for key in ["", "a b", "ü", &"x".repeat(256)] {
        let answer = http.clone().header("idempotency-key", key).post(&kept, "1").await;
        assert_eq!(problem(&answer), "400 invalid-header", "{key:?}");
    }
    let not_kept = http.clone().header("idempotency-key", "a").post(MESSAGES, "1").await;
    assert_eq!(problem(&not_kept), "400 invalid-query");
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_counted() {
    let server = Server::with(&format!("[sessions]\nmax_frame = 2097152\n{METRICS}")).await;
    let http = known(&server).await;
    for query in [
        "?keep=maybe",
        "?lane=urgent",
        "?expires_in=60",
        "?collapse_key=a",
        "?keep=false&lane=normal",
        "?keep=true&lane=fast",
        "?keep=true&expires_in=0",
        "?keep=true&expires_in=2592001",
        "?keep=true&collapse_key=",
        &format!("?keep=true&collapse_key={}", "x".repeat(129)),
    ] {
        let answer = http.post(&format!("{MESSAGES}{query}"), "1").await;
        assert_eq!(problem(&answer), "400 invalid-query", "{query}");
    }
    let kept = format!("{MESSAGES}?keep=true");
    let big = http.post(&kept, format!("\"{}\"", "x".repeat(1024 * 1024))).await;
    assert_eq!(problem(&big), "413 message-too-big");
    let detail = big.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("expected at most 1048576"), "{detail}");
    let too_big = http.post(&kept, format!("\"{}\"", "x".repeat(2 * 1024 * 1024))).await;
    assert_eq!(problem(&too_big), "413 message-too-big");
    let heavy = format!("[{}0]", "\"a\",".repeat(100_000));
    assert_eq!(problem(&http.post(&kept, heavy).await), "413 message-too-big");
    let large = format!("\"{}\"", "x".repeat(600 * 1024));
    keep(&http, "", &large).await;
    let full = http.post(&kept, large.clone()).await;
    assert_eq!(problem(&full), "409 queue-full");
    let detail = full.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("at most 1000 messages and 1048576 bytes"), "{detail}");
    let reader = server.http_as(&[Role::Read, Role::Admin]).await.json();
    assert_eq!(problem(&reader.post(&kept, "1").await), "403 role-missing");
    let sender = server.http_as(&[Role::Send]).await;
    assert_eq!(problem(&sender.get(MESSAGES).await), "403 role-missing");
    let scoped = server.add_token("site", Role::ALL, Some("site-*")).await;
    let scoped = server.http().token(&scoped).json();
    for answer in [scoped.get(MESSAGES).await, scoped.post(&kept, "1").await] {
        assert_eq!(problem(&answer), "404 device-not-found");
    }

    let text = metrics(&Http::to(server.addresses()[1])).await;
    let refused = |reason| format!("fedecks_device_messages_refused_total{{reason=\"{reason}\"}}");
    for (name, expected) in [
        ("fedecks_device_messages_accepted_total".to_owned(), 1.0),
        (refused("too-big"), 3.0),
        (refused("queue-full"), 1.0),
        (refused("store-full"), 0.0),
        ("fedecks_device_messages_settled_total{state=\"expired\"}".to_owned(), 0.0),
    ] {
        assert_eq!(sample(&text, &name), expected, "{name}");
    }
}

#[tokio::test]
async fn a_message_expires_unless_it_was_sent() {
    let server = Server::start().await;
    let http = known(&server).await;
    let mut stream = http.events("/api/v1/events?kind=message-settled").await;
    let id = keep(&http, "&expires_in=1", "1").await;
    let event = stream.next().await;
    assert_eq!((&event["message_id"], &event["state"]), (&json!(id), &json!("expired")));
    let expired = get(&http, &id).await;
    assert_eq!((&expired["state"], &expired["reason"]), (&json!("expired"), &Value::Null));
}

#[tokio::test]
async fn what_waits_survives_a_restart() {
    let server = Server::with(METRICS).await;
    let http = known(&server).await;
    let keyed = http.clone().header("idempotency-key", "7");
    let id = keep(&keyed, "", "1").await;
    let token = server.token(Role::ALL).await;
    let server = server.restart(|| {}).await;
    let http = server.http().token(&token).json();
    assert_eq!(get(&http, &id).await["state"], "queued");
    let scraped = Http::to(server.addresses()[1]);
    until(async || {
        let text = metrics(&scraped).await;
        let bytes = sample(&text, "fedecks_device_messages_waiting_bytes");
        (sample(&text, "fedecks_device_messages_waiting") == 1.0 && bytes > 100.0).then_some(())
    })
    .await;
    let mut device = takes_kept(&server).await;
    let handle = resume(&mut device).await;
    assert_eq!(kept(&mut device).await.tag.to_string(), id);
    acknowledge(&mut device, handle, 1, Vec::new()).await;
    until(async || (get(&http, &id).await["state"] == "delivered").then_some(())).await;
}
