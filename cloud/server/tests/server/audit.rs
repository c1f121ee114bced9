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
    // The browser's session has ended.
    let signed_in = http.post("/session", json!({ "token": reader }).to_string()).await;
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let forged = http.clone().header("cookie", cookie).post("/api/v1/devices/x/block", "").await;
    assert_eq!(problem(&forged), "403 cross-site");
    let _device = server.device("kitchen-1").await;
    let refused = http.token(&reader).post("/api/v1/devices/kitchen-1/block", "").await;
    assert_eq!(problem(&refused), "403 role-missing");
    let by = "token:reader";
    let route = "POST /devices/{id}/block";
    let (role, csrf) = (format!("{route}: 403 role-missing"), "POST: 403 cross-site");
    for (filter, action, by, device, detail) in [
        ("&class=sign-ins", "signed-in", by, Value::Null, Value::Null),
        ("&class=sign-ins&by=token:reader", "signed-out", by, Value::Null, Value::Null),
        ("&class=logins", "registered", "account:marvin", "kitchen-1".into(), Value::Null),
        ("&device=kitchen-1", "change-refused", by, "kitchen-1".into(), role.into()),
        ("&class=refusals", "change-refused", by, Value::Null, csrf.into()),
    ] {
        let entry = until(async || {
            let mut all = entries(&admin, filter).await;
            all.retain(|entry| entry["action"] == action);
            all.pop()
        })
        .await;
        assert_eq!((&entry["by"], &entry["device"]), (&by.into(), &device), "{entry}");
        assert_eq!(
            (&entry["address"], &entry["detail"]),
            (&"127.0.0.1".into(), &detail),
            "{entry}"
        );
    }
    assert_eq!(entries(&admin, "&class=messages").await, [] as [Value; 0]);
    assert_eq!(entries(&admin, "&class=access&by=token:reader").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_change_that_fails_is_recorded_with_its_target() {
    let server = Server::start().await;
    let admin = server.http_as(&[Admin]).await.json();
    let body = json!({ "password": "forty-two towels" }).to_string();
    let taken = admin.ask(Method::PUT, "/api/v1/accounts/marvin", body).await;
    assert_eq!(problem(&taken), "409 account-exists");
    let entry = until(async || of(&admin, "change-refused").await.pop()).await;
    assert_eq!(entry["detail"], "PUT /accounts/{name}: 409 account-exists, \"marvin\"");
    // To read is not to change; to send is recorded without the role for it.
    assert_eq!(problem(&admin.get("/api/v1/devices/x").await), "403 role-missing");
    assert_eq!(problem(&admin.post("/api/v1/devices/x/messages", "1").await), "403 role-missing");
    let sent = until(async || {
        let refused = of(&admin, "change-refused").await;
        (refused.len() == 2).then(|| refused[0].clone())
    })
    .await;
    assert_eq!(sent["detail"], "POST /devices/{id}/messages: 403 role-missing");
}
