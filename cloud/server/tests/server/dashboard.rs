//! Signing in to the dashboard, as a browser does it.

use fedecks_store::Role::{Admin, Read};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::http::{Answer, Http};
use fedecks_testing::wait::until;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{PROGRAM, Server};

async fn sign_in(http: &Http, token: &str) -> Answer {
    let body = serde_json::json!({ "token": token }).to_string();
    http.clone().json().post("/session", body).await
}

/// The cookie's name and value, and the CSRF token.
fn session(answer: &Answer) -> (String, String) {
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
    (cookie.split(';').next().unwrap().to_owned(), csrf)
}

#[tokio::test]
async fn a_token_is_exchanged_for_a_cookie_until_signed_out() {
    let server = CloudProcess::start(PROGRAM, "").await;
    let token = server.token("reader", &["--role", "read"]).await;
    let http = server.http();
    let answer = sign_in(&http, &token).await;
    assert_eq!(answer.status, StatusCode::OK);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&token));
    let (cookie, csrf) = session(&answer);
    let browser = http.clone().header("cookie", &cookie);
    assert_eq!(browser.get("/session").await.json()["csrf"], csrf);
    assert_eq!(browser.get("/api/v1/devices").await.status, StatusCode::OK);
    assert_eq!(browser.get("/api/v1/accounts").await.json()["code"], "role-missing");
    assert_eq!(http.get("/session").await.status, StatusCode::NO_CONTENT);

    let out = browser.ask(Method::DELETE, "/session", "").await;
    assert_eq!(out.json()["code"], "cross-site");
    let out =
        browser.clone().header("x-csrf-token", &csrf).ask(Method::DELETE, "/session", "").await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(browser.get("/api/v1/devices").await.status, StatusCode::UNAUTHORIZED);
    let log = server.log();
    assert!(!log.contains(&token) && !log.contains(&cookie), "{log}");
}

#[tokio::test]
async fn a_change_needs_the_csrf_token_and_the_same_site() {
    let server = Server::start().await;
    let _device = server.device("kitchen-1").await;
    let token = server.token(&[Read, Admin]).await;
    let answer = sign_in(&server.http(), &token).await;
    let (cookie, csrf) = session(&answer);
    let browser = server.http().header("cookie", &cookie);
    let block = "/api/v1/devices/kitchen-1/block";
    let wrong = browser.clone().header("x-csrf-token", "wrong");
    for refused in [
        browser.clone(),
        wrong,
        browser.clone().header("x-csrf-token", &csrf).header("sec-fetch-site", "same-site"),
        browser.clone().header("x-csrf-token", &csrf).header("origin", "http://evil.example"),
    ] {
        let answer = refused.post(block, "").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (403, &"cross-site".into()));
    }
    let origin = format!("http://{}", server.address);
    let right = browser.header("x-csrf-token", &csrf).header("origin", &origin);
    assert_eq!(right.post(block, "").await.status, StatusCode::NO_CONTENT);
    let evil = server.http().header("origin", "http://evil.example");
    assert_eq!(sign_in(&evil, &token).await.json()["code"], "cross-site");
}

#[tokio::test]
async fn a_session_and_its_event_stream_end_with_the_token() {
    let server = Server::start().await;
    let token = server.add_token("ci", &[Read], None).await;
    let (cookie, _) = session(&sign_in(&server.http(), &token).await);
    let browser = server.http().header("cookie", &cookie);
    let mut events = browser.events("/api/v1/events").await;
    server.revoke_token("ci", &token).await;
    until(async || {
        let status = browser.get("/api/v1/devices").await.status;
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    assert!(events.ended().await);
    // Another token of the same name does not bring it back.
    server.add_token("ci", &[Read], None).await;
    assert_eq!(browser.get("/api/v1/devices").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn wrong_tokens_are_refused_rate_limited_and_not_repeated() {
    let server = Server::with("[limits]\nfailed_logins_per_address = 3\n").await;
    let http = server.http();
    let mut codes = Vec::new();
    for _ in 0..5 {
        let answer = sign_in(&http, "fdk_wrong").await;
        assert!(!answer.headers.contains_key("set-cookie"));
        codes.push(answer.status.as_u16());
    }
    assert_eq!(codes[..3], [401, 401, 401]);
    assert!(codes[3..].contains(&429), "{codes:?}");
    let typed = http.clone().json();
    for body in ["", "{", "fdk_secret", "{\"token\":7}", "{\"tokn\":\"fdk_secret\"}"] {
        let answer = typed.post("/session", body).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("fdk_secret"), "{answer:?}");
    }
    let long = typed.post("/session", "x".repeat(5000)).await;
    assert_eq!(long.json()["code"], "body-too-big");
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let server = Server::start().await;
    let http = server.http();
    for (path, status) in [
        ("/", 200),
        ("/assets/app.js", 200),
        ("/assets/nothing", 404),
        ("/session", 204),
        ("/nothing", 404),
        ("/api/v1/devices", 401),
        ("/healthz", 200),
        ("/metrics", 401),
    ] {
        let answer = http.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["x-frame-options"], "DENY");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert!(answer.headers.contains_key("cache-control"));
        assert!(!answer.headers.contains_key("strict-transport-security"));
    }
    let put = http.ask(Method::PUT, "/session", "").await;
    assert_eq!(put.json()["code"], "method-not-allowed");
    // As no client library would send it.
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /assets/../app.js HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 404");
}

#[tokio::test]
async fn the_cookie_is_secure_behind_a_tls_proxy() {
    let server = Server::with("trusted_proxies = [\"127.0.0.1\"]\n").await;
    let token = server.token(&[Read]).await;
    let proxied =
        server.http().header("x-forwarded-for", "192.0.2.7").header("x-forwarded-proto", "https");
    let answer = sign_in(&proxied, &token).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-fedecks=") && cookie.ends_with("; Secure"), "{cookie}");
    assert_eq!(answer.headers["strict-transport-security"], "max-age=31536000");
    let (cookie, _) = session(&answer);
    assert_eq!(
        proxied.header("cookie", &cookie).get("/api/v1/devices").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_history_includes_the_current_minute() {
    let server = Server::start().await;
    let _device = server.device("kitchen-1").await;
    let http = server.http_as(&[Read]).await;
    let history = http.get("/api/v1/history").await.json();
    assert_eq!(history["connected"], serde_json::json!([1]));
    assert_eq!(history["connects"], serde_json::json!([1]));
    assert_eq!(history["refusals"], serde_json::json!([0]));
    let limited = server.add_token("limited", &[Read], Some("kitchen-*")).await;
    let limited = server.http().token(&limited).get("/api/v1/history").await;
    assert_eq!(limited.json()["code"], "limited-to-devices");
}
