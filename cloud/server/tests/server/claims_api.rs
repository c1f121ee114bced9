//! Claims, approvals and revocations of many devices through the HTTP API.

use fedecks_store::Role::{self, Admin, Read, Send};
use fedecks_store::{RegistrationOutcome, RegistrationStore};
use fedecks_testing::http::Http;
use fedecks_testing::registration::{claim_or_account, registration};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Server, problem};

/// Registers a device in the store, by a claim with this secret or by an account.
async fn register(server: &Server, device: &str, proof: &str) -> RegistrationOutcome {
    let request = registration(device, claim_or_account(proof));
    server.store.register(&request).await.unwrap()
}

async fn registers(server: &Server, device: &str, proof: &str) {
    let outcome = register(server, device, proof).await;
    assert!(matches!(outcome, RegistrationOutcome::Registered { .. }), "{device}: {outcome:?}");
}

/// Makes claims: their ids and secrets.
async fn make(http: &Http, order: Value) -> Vec<(String, String)> {
    let answer = http.post("/api/v1/claims", order.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let made = answer.json();
    let text = |claim: &Value, member: &str| claim[member].as_str().unwrap().to_owned();
    let claims = made["claims"].as_array().unwrap().iter();
    claims.map(|claim| (text(claim, "id"), text(claim, "secret"))).collect()
}

/// This member of each element.
fn each(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_claim_is_made_listed_and_revoked() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await.json();
    let order = json!({
        "devices": "site-*",
        "count": 2,
        "uses": 5,
        "expires": "2999-01-31T12:00:00Z",
        "label": "Site",
        "note": "batch 7",
        "url": "wss://cloud.example.com",
    });
    let answer = http.post("/api/v1/claims", order.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let made = answer.json();
    let one = &made["claims"][0];
    let secret = one["secret"].as_str().unwrap();
    assert_eq!(one["qr"], format!("FEDECKS1;c={secret};d=site-*;u=wss://cloud.example.com"));
    assert_eq!((&one["uses"], &one["expires"]), (&5.into(), &"2999-01-31T12:00:00Z".into()));
    registers(&server, "site-1", secret).await;

    let path = format!("/api/v1/claims/{}", one["id"].as_str().unwrap());
    let claim = http.get(&path).await.json();
    let expected = json!({
        "id": one["id"],
        "devices": "site-*",
        "state": "active",
        "uses": 5,
        "used": 1,
        "returns": 0,
        "returned": 0,
        "expires": "2999-01-31T12:00:00Z",
        "revoked_since": null,
        "label": "Site",
        "approval": false,
        "note": "batch 7",
        "created": claim["created"],
        "created_by": claim["created_by"],
    });
    assert_eq!(claim, expected);
    assert!(claim["created_by"].as_str().unwrap().starts_with("token:"));
    let uses = http.get(&format!("{path}/uses")).await.json();
    let time = &uses["uses"][0]["time"];
    let used =
        json!({ "device": "site-1", "time": time, "address": "192.0.2.7", "returned": false });
    assert_eq!(uses, json!({ "uses": [used], "next": null }));
    let device = http.get("/api/v1/devices/site-1").await.json();
    let by = format!("claim:{}", one["id"].as_str().unwrap());
    let registration = json!({ "by": by, "at": time, "address": "192.0.2.7" });
    assert_eq!((&device["registration"], &device["label"]), (&registration, &"Site".into()));

    let found = http.get("/api/v1/claims?search=BATCH&state=active&limit=1").await.json();
    assert_eq!(found["claims"].as_array().unwrap().len(), 1);
    let cursor = found["next"].as_str().unwrap();
    let rest = http.get(&format!("/api/v1/claims?search=batch&cursor={cursor}")).await.json();
    let ids = [each(&found["claims"], "id"), each(&rest["claims"], "id")].concat();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");

    for _ in 0..2 {
        let revoked = http.ask(Method::DELETE, &path, "").await;
        assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    }
    let revoked = http.get("/api/v1/claims?state=revoked").await.json();
    assert_eq!(each(&revoked["claims"], "id"), [one["id"].as_str().unwrap()]);
    assert!(revoked["claims"][0]["revoked_since"].is_string());
    let listed = http.get("/api/v1/claims").await.text();
    assert!(!listed.contains(&secret[4..]));
    for (method, path) in [
        (Method::GET, "/api/v1/claims/0123456789ab"),
        (Method::DELETE, "/api/v1/claims/0123456789ab"),
        (Method::GET, "/api/v1/claims/x/uses"),
    ] {
        assert_eq!(problem(&http.ask(method, path, "").await), "404 claim-not-found", "{path}");
    }
    let audit = http.get("/api/v1/audit?class=access").await.json();
    let actions = each(&audit["entries"], "action");
    for action in ["claims-added", "claim-revoked"] {
        assert!(actions.iter().any(|one| one == action), "{actions:?}");
    }
}

#[tokio::test]
async fn five_thousand_claims_come_as_csv_for_the_production_line() {
    let server = Server::start().await;
    let http = server.http_as(&[Admin]).await.json();
    let order = json!({ "devices": "kit-*", "count": 5000 }).to_string();
    let csv = http.clone().header("accept", "text/csv, application/json;q=0.5");
    let answer = csv.post("/api/v1/claims", order).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    let text = answer.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("id,secret,devices,uses,expires_at,label,qr", 5001));
    let fields: Vec<_> = lines[5000].split(',').collect();
    let [_, secret, "kit-*", "1", "", "", qr] = fields[..] else { panic!("{}", lines[5000]) };
    assert_eq!(qr, format!("FEDECKS1;c={secret};d=kit-*"));
    registers(&server, "kit-1", secret).await;

    // The longest order: a claim for each of these ids.
    let ids: Vec<_> = (0..10_000).map(|number| format!("{number:0>128}")).collect();
    let made = make(&http, json!({ "ids": ids })).await;
    assert_eq!(made.len(), 10_000);
    registers(&server, &ids[9_999], &made[9_999].1).await;
    let too_big = http.post("/api/v1/claims", " ".repeat(2_000_000)).await;
    assert_eq!(problem(&too_big), "413 body-too-big");
}

#[tokio::test]
async fn an_order_that_cannot_be_filled_says_why() {
    let server = Server::start().await;
    let http = server.http_as(&[Admin, Read]).await.json();
    for (order, detail) in [
        (json!({}), "expected either devices or ids"),
        (json!({ "devices": "a", "ids": ["a"] }), "expected either devices or ids"),
        (json!({ "ids": ["a"], "count": 2 }), "count is for devices"),
        (json!({ "devices": "a/b" }), "devices is \"a/b\": a pattern has 1 to 128 characters"),
        (json!({ "ids": ["a", "b c"] }), "\"b c\" in ids: "),
        (json!({ "ids": ["a", "a"] }), "listed twice"),
        (json!({ "devices": "*", "uses": 0 }), "expected 1 to 1000000 uses, not 0"),
        (json!({ "devices": "*", "count": 10_001 }), "expected 1 to 10000 claims at once"),
        (json!({ "devices": "*", "returns": 1 }), "* may be several"),
        (json!({ "devices": "*", "expires": "2020-01-31T12:00:00Z" }), "which is in the past"),
        (json!({ "devices": "*", "expires": "tomorrow" }), "expires is \"tomorrow\""),
        (json!({ "devices": "*", "label": " " }), "the label: "),
        (json!({ "devices": "*", "url": "https://x" }), "url: expected wss://HOST"),
        (json!({ "devices": "*", "name": "x" }), "unknown field `name`"),
    ] {
        let answer = http.post("/api/v1/claims", order.to_string()).await;
        assert_eq!(problem(&answer), "422 invalid-body", "{order}");
        let text = answer.text();
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{order}: {text}");
    }
    let listed = http.get("/api/v1/claims").await.json();
    assert_eq!(listed, json!({ "claims": [], "next": null }));
    assert_eq!(problem(&http.get("/api/v1/claims?state=new").await), "400 invalid-query");
    assert_eq!(problem(&http.get("/api/v1/claims?cursor=x").await), "400 invalid-query");

    let scoped = server.add_token("scoped", Role::ALL, Some("site-*")).await;
    let scoped = server.http().token(&scoped).json();
    let order = json!({ "devices": "site-1" }).to_string();
    let refused = scoped.post("/api/v1/claims", order.clone()).await;
    assert_eq!(problem(&refused), "403 limited-to-devices");
    assert_eq!(problem(&scoped.get("/api/v1/claims").await), "403 limited-to-devices");
    let sender = server.http_as(&[Send, Read]).await.json();
    assert_eq!(problem(&sender.post("/api/v1/claims", order).await), "403 role-missing");
}

#[tokio::test]
async fn devices_are_revoked_by_what_has_registered_them() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await.json();
    let made = make(&http, json!({ "devices": "*", "uses": 200 })).await;
    let (claim, secret) = &made[0];
    for number in 0..120 {
        registers(&server, &format!("a-{number:03}"), secret).await;
    }
    registers(&server, "b-1", "fleet").await;
    let revoke = async |body: Value| http.post("/api/v1/revocations", body.to_string()).await;
    let mut events = http.events("/api/v1/events?kind=revoked").await;
    let dry = revoke(json!({ "by_claim": claim, "dry_run": true })).await.json();
    assert_eq!((&dry["count"], &dry["dry_run"]), (&120.into(), &true.into()));
    assert_eq!(dry["devices"].as_array().unwrap().len(), 100);
    assert_eq!((&dry["devices"][0], &dry["devices"][99]), (&"a-000".into(), &"a-099".into()));
    let done = revoke(json!({ "by_account": "fleet" })).await.json();
    assert_eq!(done, json!({ "count": 1, "devices": ["b-1"], "dry_run": false }));
    // None by the dry run.
    assert_eq!(events.next().await["device"], "b-1");
    let done = revoke(json!({ "by_claim": claim, "devices": "a-01*" })).await.json();
    assert_eq!(done["count"], 10);
    let none = revoke(json!({ "by_claim": "0123456789ab" })).await.json();
    assert_eq!(none, json!({ "count": 0, "devices": [], "dry_run": false }));
    for (body, detail) in [
        (json!({}), "expected by_claim, by_account or devices"),
        (json!({ "dry_run": true }), "expected by_claim, by_account or devices"),
        (json!({ "by_claim": claim, "by_account": "fleet" }), "expected one"),
        (json!({ "by_account": "" }), "by_account: "),
        (json!({ "by_claim": "x" }), "by_claim: the id of a claim has 12 hexadecimal"),
        (json!({ "devices": "a/b" }), "devices: a pattern"),
    ] {
        let answer = revoke(body.clone()).await;
        assert_eq!(problem(&answer), "422 invalid-body", "{body}");
        assert!(answer.text().contains(detail), "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_device_that_waits_is_approved_or_rejected() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await.json();
    let order = json!({ "devices": "*", "uses": 9, "approval": true });
    let (claim, secret) = make(&http, order).await.remove(0);
    for device in ["board-1", "board-2", "site-1"] {
        let outcome = register(&server, device, &secret).await;
        assert!(matches!(outcome, RegistrationOutcome::Refused(_)), "{outcome:?}");
    }
    let waiting = http.get("/api/v1/approvals").await.json();
    assert_eq!(each(&waiting["approvals"], "device"), ["board-1", "board-2", "site-1"]);
    let first = &waiting["approvals"][0];
    assert_eq!((&first["claim"], &first["address"]), (&claim.into(), &"192.0.2.7".into()));
    let page = http.get("/api/v1/approvals?limit=2").await.json();
    let cursor = page["next"].as_str().unwrap();
    let rest = http.get(&format!("/api/v1/approvals?cursor={cursor}")).await.json();
    assert_eq!(each(&rest["approvals"], "device"), ["site-1"]);
    let scoped = server.add_token("scoped", Role::ALL, Some("site-*")).await;
    let scoped = server.http().token(&scoped);
    let seen = scoped.get("/api/v1/approvals").await.json();
    assert_eq!(each(&seen["approvals"], "device"), ["site-1"]);
    let hidden = scoped.post("/api/v1/approvals/board-1", "").await;
    assert_eq!(problem(&hidden), "404 approval-not-found");

    let approve = async |method, device: &str| {
        http.ask(method, &format!("/api/v1/approvals/{device}"), "").await
    };
    assert_eq!(approve(Method::POST, "board-1").await.status, StatusCode::NO_CONTENT);
    assert_eq!(approve(Method::DELETE, "board-2").await.status, StatusCode::NO_CONTENT);
    registers(&server, "board-1", &secret).await;
    let rejected = register(&server, "board-2", &secret).await;
    assert!(matches!(rejected, RegistrationOutcome::Refused(_)), "{rejected:?}");
    for method in [Method::POST, Method::DELETE] {
        let answer = approve(method, "board-1").await;
        assert_eq!(problem(&answer), "404 approval-not-found");
    }
}

#[tokio::test]
async fn an_id_is_free_again_once_an_operator_allows_it() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await;
    registers(&server, "board-1", "fleet").await;
    let taken = register(&server, "board-1", "other").await;
    assert!(matches!(taken, RegistrationOutcome::Refused(_)), "{taken:?}");
    let allow =
        async |id: &str| http.post(&format!("/api/v1/devices/{id}/allow-reregistration"), "").await;
    assert_eq!(allow("board-1").await.status, StatusCode::NO_CONTENT);
    let device = http.get("/api/v1/devices/board-1").await.json();
    assert!(device["reregistration_allowed_until"].is_string(), "{device}");
    registers(&server, "board-1", "other").await;
    let listed = http.get("/api/v1/devices").await.json();
    let device = &listed["devices"][0];
    assert_eq!(device["registration"]["by"], "account:other", "{device}");
    assert_eq!(device["reregistration_allowed_until"], Value::Null, "{device}");
    assert_eq!(problem(&allow("board-7").await), "404 device-not-found");
}
