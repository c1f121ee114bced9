//! Signing in to the dashboard, as a browser does it.

use fedecks_store::Role::{Admin, Read};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::http::{Answer, Http};
use fedecks_testing::wait::within;
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
    for refused in [
        browser.clone(),
        browser.clone().header("x-csrf-token", "wrong"),
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
    browser.until_status("/api/v1/devices", StatusCode::UNAUTHORIZED).await;
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
    let browser = proxied.header("cookie", &session(&answer).0);
    assert_eq!(browser.get("/api/v1/devices").await.status, StatusCode::OK);
}

#[tokio::test]
async fn over_tls_only_the_prefixed_cookie_counts() {
    let server = Server::with("trusted_proxies = [\"127.0.0.1\"]\n").await;
    let (victim, attacker) = (server.token(&[Read]).await, server.token(&[Read]).await);
    let plain = server.http();
    let proxied = plain.clone().header("x-forwarded-for", "192.0.2.7");
    let tls = proxied.clone().header("x-forwarded-proto", "https");
    // A sister subdomain can set the name without prefix for all of its domain.
    let (planted, _) = session(&sign_in(&plain, &attacker).await);
    let (own, csrf) = session(&sign_in(&tls, &victim).await);
    let csrf_of = async |http: &Http, cookies: &[&str]| {
        let http = cookies.iter().fold(http.clone(), |http, one| http.header("cookie", one));
        let answer = http.get("/session").await;
        (answer.status == StatusCode::OK)
            .then(|| answer.json()["csrf"].as_str().unwrap().to_owned())
    };
    for cookies in [
        &[&*format!("{planted}; {own}")][..],
        &[&format!("{own}; {planted}")],
        &[&format!("fedecks=left-over; {own}")],
        &[&planted, &own],
    ] {
        assert_eq!(csrf_of(&tls, cookies).await.as_ref(), Some(&csrf), "{cookies:?}");
    }
    assert_eq!(csrf_of(&tls, &[&planted]).await, None);
    // Without TLS a browser does not send the other one.
    let secret = own.split_once('=').unwrap().1;
    let without = planted.split_once('=').unwrap().1;
    assert_eq!(csrf_of(&plain, &[&own]).await, None);
    assert_eq!(csrf_of(&tls, &[&format!("fedecks={secret}")]).await, None);
    // Cookies of one name are tried in their order, as a path or a domain may have another one.
    assert!(csrf_of(&plain, &[&format!("fedecks=left-over; fedecks={without}")]).await.is_some());

    // Signing in or out over TLS leaves the other session alone, and its cookie.
    let both = tls.clone().header("cookie", &format!("{planted}; {own}"));
    let out = both.header("x-csrf-token", &csrf).ask(Method::DELETE, "/session", "").await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(csrf_of(&tls, &[&own]).await, None);
    assert!(csrf_of(&plain, &[&planted]).await.is_some());
    assert!(out.headers["set-cookie"].to_str().unwrap().starts_with("__Host-fedecks=;"));
}

#[tokio::test]
async fn over_tls_a_page_without_tls_is_another_site() {
    let server = Server::with("trusted_proxies = [\"127.0.0.1\"]\n").await;
    let token = server.token(&[Read]).await;
    let proxied = server.http().header("x-forwarded-for", "192.0.2.7");
    let tls = proxied.header("x-forwarded-proto", "https");
    let origin = |scheme: &str| format!("{scheme}://{}", server.address);
    let refused = sign_in(&tls.clone().header("origin", &origin("http")), &token).await;
    assert_eq!(refused.json()["code"], "cross-site");
    let answer = sign_in(&tls.header("origin", &origin("https")), &token).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_script_sees_that_a_quiet_stream_is_alive() {
    let server = Server::start().await;
    let http = server.http().token(&server.token(&[Read]).await);
    let mut events = http.events("/api/v1/events?heartbeat=1").await;
    assert_eq!(events.next().await["kind"], "heartbeat");
    for wrong in ["0", "61", "1.5", "yes", ""] {
        let answer = http.get(&format!("/api/v1/events?heartbeat={wrong}")).await;
        assert_eq!(answer.json()["code"], "invalid-query", "{wrong}");
    }
}

#[tokio::test]
async fn a_late_body_of_a_sign_in_is_not_a_wrong_method() {
    let server = Server::with("[limits]\nrequest_body = \"1s\"\n").await;
    for body in ["", "{\"token\":"] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let head = "POST /session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 90";
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        let mut text = [0; 4096];
        while !answer.contains("\"detail\"") {
            let count = within(stream.read(&mut text)).await.unwrap();
            assert_ne!(count, 0, "{answer}");
            answer += std::str::from_utf8(&text[..count]).unwrap();
        }
        assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
        assert!(answer.contains("\"invalid-body\""), "{answer}");
    }
}
