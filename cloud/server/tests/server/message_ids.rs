//! Messages to devices through the API: their two paths, and the ids that the answers and the events carry.

use fedecks_device::Event;
use fedecks_store::Role;
use fedecks_testing::wait::until;
use http::{Method, StatusCode};

use crate::support::{Server, problem};

const MESSAGES: &str = "/api/v1/devices/kitchen-1/messages";

const RAW_MESSAGES: &str = "/api/v1/devices/kitchen-1/raw-messages";

const BYTES: &str = "application/octet-stream";

#[tokio::test]
async fn bytes_and_json_have_separate_paths() {
    let server = Server::start().await;
    let http = server.http_as(&[Role::Send]).await;
    let mut device = server.device("kitchen-1").await;
    let bytes = http.clone().header("content-type", BYTES);
    for body in [&b"\0hello"[..], b"{\"fan\":1}", b""] {
        let answer = bytes.post(RAW_MESSAGES, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let event = device.until(|event| matches!(event, Event::RawMessage(_))).await;
        assert_eq!(event, Event::RawMessage(body.to_vec()));
    }
    let elsewhere = bytes.post(MESSAGES, "hello").await;
    assert_eq!(problem(&elsewhere), "415 unsupported-media-type");
    let detail = elsewhere.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("expected application/json"), "{detail}");
    assert!(detail.contains("/raw-messages"), "{detail}");
    for content_type in ["application/json", "text/plain", ""] {
        let answer =
            http.clone().header("content-type", content_type).post(RAW_MESSAGES, "1").await;
        assert_eq!(problem(&answer), "415 unsupported-media-type", "{content_type:?}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("expected application/octet-stream"), "{detail}");
    }
    let literal = bytes.post(&format!("{RAW_MESSAGES}?literal=true"), "1").await;
    assert_eq!(problem(&literal), "400 invalid-query");
}

#[tokio::test]
async fn an_accepted_message_has_the_id_that_its_event_carries() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await;
    let _device = server.device("kitchen-1").await;
    let mut stream = http.events("/api/v1/events?kind=sent&kind=raw-sent").await;
    let (mut ids, mut events) = (Vec::new(), Vec::new());
    for (path, content_type, kind) in [
        (MESSAGES, "application/json", "sent"),
        (RAW_MESSAGES, BYTES, "raw-sent"),
        (MESSAGES, "application/json", "sent"),
    ] {
        let answer = http.clone().header("content-type", content_type).post(path, "1").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json");
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        // As the description promises, though clients must not rely on more.
        let is_opaque = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!((16..=64).contains(&id.len()) && id.chars().all(is_opaque), "{id}");
        let event = stream.next().await;
        assert_eq!((&event["kind"], &event["message_id"]), (&kind.into(), &id.as_str().into()));
        assert_ne!(event["id"], event["message_id"]);
        assert!(!ids.contains(&id), "{id}");
        ids.push(id);
        events.push(event["id"].as_str().unwrap().to_owned());
    }
    // What the log replays is the same.
    let mut replayed = http.events(&format!("/api/v1/events?kind=sent&after={}", events[0])).await;
    assert_eq!(replayed.next().await["message_id"], ids[2].as_str());
    // A message that was not accepted has no id, and no event.
    let unknown = http.json().post("/api/v1/devices/hall-1/messages", "1").await;
    assert_eq!(problem(&unknown), "404 device-not-found");
    assert!(unknown.json().get("id").is_none());
}

#[tokio::test]
async fn raw_messages_need_the_role_send_and_are_audited() {
    let server = Server::start().await;
    let _device = server.device("kitchen-1").await;
    let reader = server.http_as(&[Role::Read, Role::Admin]).await.header("content-type", BYTES);
    let refused = reader.post(RAW_MESSAGES, "1").await;
    assert_eq!(problem(&refused), "403 role-missing");
    let scoped = server.add_token("site", Role::ALL, Some("site-*")).await;
    let unseen = server.http().token(&scoped).header("content-type", BYTES);
    assert_eq!(problem(&unseen.post(RAW_MESSAGES, "1").await), "404 device-not-found");
    let other = reader.ask(Method::GET, RAW_MESSAGES, "").await;
    assert_eq!(problem(&other), "405 method-not-allowed");
    let sender = server.http_as(&[Role::Send]).await.header("content-type", BYTES);
    assert_eq!(sender.post(RAW_MESSAGES, "1").await.status, StatusCode::ACCEPTED);
    let entries = until(async || {
        let page = reader.get("/api/v1/audit?class=messages").await.json();
        (!page["entries"].as_array().unwrap().is_empty()).then_some(page)
    })
    .await;
    assert_eq!(entries["entries"][0]["action"], "message-sent");
}
