//! The audit log, as administrators read it: what is rare is not lost to what is frequent.

use fedecks_store::Role::{Admin, Read, Send};
use fedecks_testing::http::Http;
use fedecks_testing::wait::until;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Server, problem};

/// All entries that match, newest first, page by page.
async fn entries(admin: &Http, filter: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/api/v1/audit?limit=500{filter}{cursor}")).await.json();
        all.extend(page["entries"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

/// The entries of this action.
async fn of(admin: &Http, action: &str) -> Vec<Value> {
    let mut all = entries(admin, "").await;
    all.retain(|entry| entry["action"] == action);
    all
}

#[tokio::test]
async fn messages_do_not_push_out_who_added_a_token() {
    let server = Server::with("[audit]\nkeep = 1000\n").await;
    let admin = server.http_as(&[Admin]).await;
    let sender = server.add_token("sender", &[Send], Some("kitchen-*")).await;
    let sender = server.http().token(&sender).json();
    let mut device = server.device("kitchen-1").await;
    for number in 0..1100 {
        let sent = sender.post("/api/v1/devices/kitchen-1/messages", number.to_string()).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED);
        device.message().await;
    }
    until(async || (of(&admin, "message-sent").await.len() >= 990).then_some(())).await;
    let added = of(&admin, "token-added").await;
    let details: Vec<_> = added.iter().map(|entry| entry["detail"].as_str().unwrap()).collect();
    assert!(details.contains(&"sender: send, devices kitchen-*"), "{details:?}");
}

#[tokio::test]
async fn relabelling_one_device_does_not_push_out_who_added_a_token() {
    let server = Server::with("[audit]\nkeep = 1000\n").await;
    let admin = server.http_as(&[Admin]).await;
    let scoped = server.add_token("scoped", &[Admin], Some("kitchen-*")).await;
    let scoped = server.http().token(&scoped).json();
    server.revoke_device("kitchen-1").await;
    for number in 0..1100 {
        let body = json!({ "label": number.to_string() }).to_string();
        let changed = scoped.ask(Method::PATCH, "/api/v1/devices/kitchen-1", body).await;
        assert_eq!(changed.status, StatusCode::OK);
    }
    let details = of(&admin, "token-added").await;
    let details: Vec<_> = details.iter().map(|entry| entry["detail"].as_str().unwrap()).collect();
    assert!(details.contains(&"scoped: admin, devices kitchen-*"), "{details:?}");
}

#[tokio::test]
async fn sign_ins_logins_and_refused_changes_are_recorded() {
    let server = Server::start().await;
    let admin = server.http_as(&[Admin]).await;
    let reader = server.add_token("reader", &[Read], None).await;
    let http = server.http().json();
    let signed_in = http.post("/session", json!({ "token": reader }).to_string()).await;
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let csrf = signed_in.json()["csrf"].as_str().unwrap().to_owned();
    let browser = http.clone().header("cookie", cookie).header("x-csrf-token", &csrf);
    assert_eq!(browser.ask(Method::DELETE, "/session", "").await.status, StatusCode::NO_CONTENT);
    let _device = server.device("kitchen-1").await;
    let refused = http.token(&reader).post("/api/v1/devices/kitchen-1/block", "").await;
    assert_eq!(problem(&refused), "403 role-missing");
    let by = "token:reader";
    for (action, by, device) in [
        ("signed-in", by, Value::Null),
        ("signed-out", by, Value::Null),
        ("logged-in", "account:marvin", "kitchen-1".into()),
        ("change-refused", by, "kitchen-1".into()),
    ] {
        let entry = until(async || of(&admin, action).await.pop()).await;
        assert_eq!((&entry["by"], &entry["device"]), (&by.into(), &device), "{entry}");
        assert_eq!(entry["address"], "127.0.0.1", "{entry}");
    }
}
