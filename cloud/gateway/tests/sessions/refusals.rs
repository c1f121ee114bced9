//! Refused connections, with their status and reason.

use data_encoding::BASE64;
use fedecks_cloud::store::Actor;
use fedecks_cloud::store::unix_now;
use fedecks_cloud::{Keyring, Options};
use fedecks_protocol::{AUTH_HEADER, Dialect, Limits, Proof, Term, Token};
use fedecks_testing::cloud::keyring;
use fedecks_testing::raw_device::{RawDevice, Refused, SUBPROTOCOL, token};
use fedecks_testing::wait::within;
use fedecks_testing::{PASSWORD, USER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Cloud, credentials, id, start, with};

fn header(term: &Term) -> String {
    BASE64.encode(&Dialect::Bincode.encode_term(term, &Limits::default()).unwrap())
}

fn map(entries: &[(&str, Term)]) -> Term {
    Term::Map(entries.iter().map(|(key, value)| (Term::from(*key), value.clone())).collect())
}

async fn refused(cloud: &Cloud, value: &str) -> (u16, String) {
    reason(RawDevice::dial_with(cloud.address, &[(AUTH_HEADER, value), SUBPROTOCOL]).await)
}

fn reason(result: Result<RawDevice, Refused>) -> (u16, String) {
    let refused = result.expect_err("a refusal");
    let challenge = refused.headers.get("www-authenticate").map(|value| value.to_str().unwrap());
    assert_eq!(challenge, (refused.status == 401).then_some("Fedecks"));
    (refused.status, refused.reason.expect("a reason"))
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test]
async fn an_invalid_header_is_refused_with_its_cause() {
    let cloud = start().await;
    let good = header(&map(&[("fedecks-device-id", "a".into())]));
    let auth = (AUTH_HEADER, &*good);
    for (headers, word) in [
        (&[SUBPROTOCOL][..], "missing-header"),
        (&[auth, auth, SUBPROTOCOL], "malformed"),
        (&[auth], "unsupported-dialect"),
        (&[auth, ("sec-websocket-protocol", "mqtt")], "unsupported-dialect"),
    ] {
        let dialled = RawDevice::dial_with(cloud.address, headers).await;
        assert_eq!(reason(dialled), is(400, word), "{headers:?}");
    }
    for (value, reason) in [
        ("%%%", "not-base64"),
        ("YQ", "not-base64"),
        ("/////w==", "malformed"),
        (&header(&Term::from("text")), "malformed"),
        (&header(&map(&[])), "no-device-id"),
        (&header(&map(&[("fedecks-device-id", Term::Int(7))])), "no-device-id"),
        (&header(&map(&[("fedecks-device-id", "a/b".into())])), "no-device-id"),
    ] {
        assert_eq!(refused(&cloud, value).await, is(400, reason), "{value}");
    }
    assert_eq!(cloud.hub.stats().connected, 0);
}

#[tokio::test]
async fn a_header_above_the_limit_is_refused_with_431() {
    let cloud = with(Options::default().with(|it| it.max_header = 300)).await;
    assert_eq!(refused(&cloud, &"A".repeat(301)).await, is(431, "header-too-long"));
    assert_eq!(refused(&cloud, &"A".repeat(300)).await, is(400, "malformed"));
}

#[tokio::test]
async fn the_handlers_decision_is_the_refusal() {
    let cloud = start().await;
    for (username, status, word, delay) in [
        ("zaphod", 401, "bad-credentials", None),
        ("blocked", 403, "blocked", None),
        ("hasty", 429, "rate-limited", Some("7")),
        ("early", 503, "unavailable", Some("9")),
        ("panic", 503, "unavailable", Some("10")),
    ] {
        let dialled = RawDevice::dial(cloud.address, "a", credentials(username)).await;
        let refused = dialled.expect_err("a refusal");
        let retry_after = refused.headers.get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(retry_after, delay, "{username}");
        assert_eq!(reason(Err(refused)), is(status, word), "{username}");
    }
    RawDevice::login(cloud.address, "a").await;
}

#[tokio::test]
async fn an_invalid_token_is_refused_with_its_reason() {
    let cloud = start().await;
    let dial = async |device: &str, token: Token| {
        reason(RawDevice::dial(cloud.address, device, Proof::Token(token)).await)
    };
    let good = token("a", unix_now(), unix_now() + 100, 0);
    let mut forged = good.expose().to_owned().into_bytes();
    forged[20] ^= 1;
    let forged = Token::new(String::from_utf8(forged).unwrap()).unwrap();
    let foreign = Keyring::new("another secret with 32 characters", "another salt").unwrap();
    let claims = keyring().open(&good).unwrap();
    for (device, token, reason) in [
        ("b", good.clone(), "wrong-device"),
        ("a", token("a", 100, 1_600_000_000, 0), "token-expired"),
        ("a", forged, "token-invalid"),
        ("a", foreign.seal(&claims).token, "token-invalid"),
        ("a", Token::new("made-up").unwrap(), "token-invalid"),
    ] {
        assert_eq!(dial(device, token).await, is(401, reason));
    }

    let with_good_credentials = map(&[
        ("fedecks-device-id", "a".into()),
        ("fedecks-token", "made-up".into()),
        ("username", USER.into()),
        ("password", PASSWORD.into()),
    ]);
    let refusal = refused(&cloud, &header(&with_good_credentials)).await;
    assert_eq!(refusal, is(401, "token-invalid"));

    cloud.denylist.revoke(&id("a"), &Actor::cli()).await.unwrap();
    assert_eq!(dial("a", good).await, is(401, "token-revoked"));
    let generation = cloud.denylist.generation(&id("a"));
    let newer = Proof::Token(token("a", unix_now(), unix_now() + 100, generation));
    assert!(RawDevice::dial(cloud.address, "a", newer).await.is_ok());
}

#[tokio::test]
async fn only_who_proves_to_be_a_device_learns_that_it_is_blocked() {
    let cloud = start().await;
    cloud.denylist.block(&id("a"), &Actor::cli()).await.unwrap();
    let now = unix_now();
    let good = Proof::Token(token("a", now, now + 100, 0));
    for (case, proof, refusal) in [
        ("a good token", good.clone(), is(403, "blocked")),
        ("the right password", credentials(USER), is(403, "blocked")),
        ("a wrong password", credentials("zaphod"), is(401, "bad-credentials")),
        ("too many attempts", credentials("hasty"), is(429, "rate-limited")),
        ("a made-up token", Proof::Token(Token::new("x").unwrap()), is(401, "token-invalid")),
        ("another's token", Proof::Token(token("b", now, now + 100, 0)), is(401, "wrong-device")),
    ] {
        let dialled = RawDevice::dial(cloud.address, "a", proof).await;
        assert_eq!(reason(dialled), refusal, "{case}");
    }
    assert!(RawDevice::dial(cloud.address, "b", credentials(USER)).await.is_ok());

    cloud.denylist.unblock(&id("a"), &Actor::cli()).await.unwrap();
    assert!(RawDevice::dial(cloud.address, "a", good).await.is_ok(), "a block costs no token");
}

const HEAD: &str = "GET /fedecks/websocket HTTP/1.1\r\nhost: x\r\n\
    connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-protocol: other, fedecks.v1.bincode\r\n";
const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn an_invalid_upgrade_is_answered_as_the_rfc_says() {
    let cloud = start().await;
    let good = format!("{HEAD}{KEY}");
    let bare = "GET /fedecks/websocket HTTP/1.1\r\nhost: x\r\n";
    let text = "\r\nthe x-fedecks-auth header is not padded standard base64\n";
    for (head, status, contained) in [
        (bare, "426 Upgrade Required", "\r\nupgrade: websocket\r\n"),
        (&good.replace("13", "8"), "426 ", "\r\nsec-websocket-version: 13\r\n"),
        (HEAD, "400 ", ""),
        (&format!("{HEAD}sec-websocket-key: short\r\n"), "400 ", ""),
        (&format!("{good}{KEY}"), "400 ", "there must be one Sec-WebSocket-Key"),
        (&format!("{good}sec-websocket-version: 13\r\n"), "426 ", "only version 13"),
        (&good.replace("HTTP/1.1", "HTTP/1.0"), "426 ", "\r\nupgrade: websocket\r\n"),
        (&good.replace("keep-alive, Upgrade", "keep-alive"), "426 ", ""),
        (&good.replace("WebSocket\r", "h2c\r"), "426 ", ""),
        (&good.replace("GET", "POST"), "405 ", "\r\nallow: GET\r\n"),
        (&good.replace("/websocket", "/other"), "404 ", ""),
        (&format!("{good}x-fedecks-auth: <script>\r\n"), "400 Bad Request", text),
    ] {
        let mut stream = TcpStream::connect(cloud.address).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        let version = if head.contains("HTTP/1.0") { "1.0" } else { "1.1" };
        assert!(answer.starts_with(&format!("HTTP/{version} {status}")), "{answer}");
        assert!(answer.contains(contained), "{answer}");
        assert!(contained != text || answer.ends_with(text), "{answer}");
        assert!(head != bare || !answer.contains("x-fedecks-refusal"), "{answer}");
        assert!(!answer.contains("script"), "the text repeats the request: {answer}");
    }
}

#[tokio::test]
async fn an_upgrade_is_recognized_by_its_tokens_in_any_lists() {
    let cloud = start().await;
    let mut answers = Vec::new();
    for (from, to) in [
        ("keep-alive, Upgrade", "keep-alive, Upgrade"),
        ("keep-alive, Upgrade", "UPGRADE"),
        ("keep-alive, Upgrade", "upgrade ,, keep-alive"),
        ("keep-alive, Upgrade", "keep-alive\r\nconnection: Upgrade"),
        ("keep-alive, Upgrade", "Upgrade\r\nconnection: keep-alive"),
        ("upgrade: WebSocket", "upgrade: websocket, h2c"),
        ("upgrade: WebSocket", "upgrade: h2c\r\nupgrade: websocket"),
        ("other, fedecks", "other\r\nsec-websocket-protocol: fedecks"),
        ("host: x", "host: x\r\nsec-websocket-extensions: permessage-deflate"),
        ("host: x", "host: x\r\ncontent-length: 0"),
    ] {
        let token = token("a", unix_now(), unix_now() + 100, 0);
        let auth =
            map(&[("fedecks-device-id", "a".into()), ("fedecks-token", token.expose().into())]);
        let head = format!("{HEAD}{KEY}x-fedecks-auth: {}\r\n\r\n", header(&auth));
        let mut stream = TcpStream::connect(cloud.address).await.unwrap();
        stream.write_all(head.replacen(from, to, 1).as_bytes()).await.unwrap();
        let mut status = [0; 12];
        within(stream.read_exact(&mut status)).await.unwrap();
        answers.push((to, String::from_utf8(status.to_vec()).unwrap()));
    }
    assert!(answers.iter().all(|(_, status)| status == "HTTP/1.1 101"), "{answers:#?}");
}

#[tokio::test]
async fn the_upgrade_is_answered_with_the_accept_key_and_the_dialect() {
    let cloud = start().await;
    let token = token("a", unix_now(), unix_now() + 100, 0);
    let auth = map(&[("fedecks-device-id", "a".into()), ("fedecks-token", token.expose().into())]);
    let head = format!("{HEAD}{KEY}x-fedecks-auth: {}\r\n\r\n", header(&auth));
    let mut stream = TcpStream::connect(cloud.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(within(stream.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    // The example of RFC 6455, section 1.3.
    assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: fedecks.v1.bincode\r\n"), "{answer}");
}
