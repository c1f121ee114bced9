use data_encoding::BASE64;
use fedecks_cloud::store::Actor;
use fedecks_cloud::{Keyring, Options};
use fedecks_protocol::{AUTH_HEADER, Dialect, Limits, Proof, Term, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Cloud, Device, Refused, before_long, credentials, id, keyring, now, subprotocol, token,
};

fn header(term: &Term) -> String {
    BASE64.encode(&Dialect::Bincode.encode_term(term, &Limits::default()).unwrap())
}

fn map(entries: &[(&str, Term)]) -> Term {
    Term::Map(entries.iter().map(|(key, value)| (Term::from(*key), value.clone())).collect())
}

async fn refused(cloud: &Cloud, value: &str) -> (u16, String) {
    let refused = Device::dial_with(cloud, &[(AUTH_HEADER, value), subprotocol()]).await;
    reason(refused)
}

fn reason(answer: Result<Device, Refused>) -> (u16, String) {
    let refused = answer.expect_err("a refusal");
    let challenge = refused.headers.get("www-authenticate").map(|value| value.to_str().unwrap());
    assert_eq!(challenge, (refused.status == 401).then_some("Fedecks"));
    (refused.status, refused.reason.expect("a reason"))
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test]
async fn a_header_that_says_nothing_is_refused_with_what_is_wrong() {
    let cloud = Cloud::start().await;
    let missing = Device::dial_with(&cloud, &[subprotocol()]).await;
    assert_eq!(reason(missing), is(400, "missing-header"));

    let good = header(&map(&[("fedecks-device-id", "a".into())]));
    let twice = [(AUTH_HEADER, &*good), (AUTH_HEADER, &*good), subprotocol()];
    assert_eq!(reason(Device::dial_with(&cloud, &twice).await), is(400, "malformed"));

    assert_eq!(refused(&cloud, "%%%").await, is(400, "not-base64"));
    assert_eq!(refused(&cloud, "YQ").await, is(400, "not-base64"));
    assert_eq!(refused(&cloud, "/////w==").await, is(400, "malformed"));
    assert_eq!(refused(&cloud, &header(&Term::from("text"))).await, is(400, "malformed"));
    for no_id in [map(&[]), map(&[("fedecks-device-id", Term::Int(7))])] {
        assert_eq!(refused(&cloud, &header(&no_id)).await, is(400, "no-device-id"));
    }
    let slash = map(&[("fedecks-device-id", "a/b".into())]);
    assert_eq!(refused(&cloud, &header(&slash)).await, is(400, "no-device-id"));
    assert_eq!(cloud.hub.stats().connected, 0);
}

#[tokio::test]
async fn a_header_that_is_too_long_is_refused_with_431() {
    let cloud = Cloud::with(Options { max_header: 300, ..Options::default() }).await;
    assert_eq!(refused(&cloud, &"A".repeat(301)).await, is(431, "header-too-long"));
    assert_eq!(refused(&cloud, &"A".repeat(300)).await, is(400, "malformed"));
}

#[tokio::test]
async fn a_dialect_that_is_not_spoken_is_refused() {
    let cloud = Cloud::start().await;
    let good = header(&map(&[("fedecks-device-id", "a".into())]));
    let auth = (AUTH_HEADER, &*good);
    let none = Device::dial_with(&cloud, &[auth]).await;
    assert_eq!(reason(none), is(400, "unsupported-dialect"));
    let other = Device::dial_with(&cloud, &[auth, ("sec-websocket-protocol", "mqtt")]).await;
    assert_eq!(reason(other), is(400, "unsupported-dialect"));
}

#[tokio::test]
async fn what_the_handler_says_of_credentials_is_told() {
    let cloud = Cloud::start().await;
    let refused = async |username: &str| {
        Device::dial(&cloud, "a", credentials(username)).await.expect_err("a refusal")
    };
    assert_eq!(reason(Err(refused("zaphod").await)), is(401, "bad-credentials"));
    assert_eq!(reason(Err(refused("blocked").await)), is(403, "blocked"));
    for (username, status, word, delay) in [
        ("hasty", 429, "rate-limited", "7"),
        ("early", 503, "unavailable", "9"),
        ("panic", 503, "unavailable", "10"),
    ] {
        let refused = refused(username).await;
        assert_eq!(refused.headers["retry-after"], delay);
        assert_eq!(reason(Err(refused)), is(status, word));
    }
    cloud.login("a").await;
}

#[tokio::test]
async fn a_token_that_is_no_good_is_refused_with_its_reason() {
    let cloud = Cloud::start().await;
    let dial = async |device: &str, token: Token| {
        reason(Device::dial(&cloud, device, Proof::Token(token)).await)
    };
    let good = token("a", now(), now() + 100, 0);
    assert_eq!(dial("b", good.clone()).await, is(401, "wrong-device"));

    let expired = token("a", now() - 100, now() - 1, 0);
    assert_eq!(dial("a", expired).await, is(401, "token-expired"));

    let mut forged = good.expose().to_owned().into_bytes();
    forged[20] ^= 1;
    let forged = Token::new(String::from_utf8(forged).unwrap()).unwrap();
    assert_eq!(dial("a", forged).await, is(401, "token-invalid"));
    let foreign = Keyring::new("another secret with 32 characters", "another salt").unwrap();
    let claims = keyring().open(&good).unwrap();
    assert_eq!(dial("a", foreign.seal(&claims).token).await, is(401, "token-invalid"));
    assert_eq!(dial("a", Token::new("made-up").unwrap()).await, is(401, "token-invalid"));

    cloud.denylist.revoke(&id("a"), &Actor::cli()).await.unwrap();
    assert_eq!(dial("a", good).await, is(401, "token-revoked"));
    let generation = cloud.denylist.generation(&id("a"));
    let newer = Proof::Token(token("a", now(), now() + 100, generation));
    assert!(Device::dial(&cloud, "a", newer).await.is_ok());
}

#[tokio::test]
async fn a_blocked_device_is_refused_by_token_and_by_credentials_before_the_handler_is_asked() {
    let cloud = Cloud::start().await;
    cloud.denylist.block(&id("a"), &Actor::cli()).await.unwrap();
    let good = Proof::Token(token("a", now(), now() + 100, 0));
    assert_eq!(reason(Device::dial(&cloud, "a", good.clone()).await), is(403, "blocked"));
    // The handler panics over these credentials.
    for user in ["marvin", "panic"] {
        let dialled = Device::dial(&cloud, "a", credentials(user)).await;
        assert_eq!(reason(dialled), is(403, "blocked"));
    }
    assert!(Device::dial(&cloud, "b", credentials("marvin")).await.is_ok());

    cloud.denylist.unblock(&id("a"), &Actor::cli()).await.unwrap();
    assert!(Device::dial(&cloud, "a", good).await.is_ok(), "a block costs no token");
}

#[tokio::test]
async fn a_bad_token_is_refused_though_good_credentials_stand_beside_it() {
    let cloud = Cloud::start().await;
    let both = map(&[
        ("fedecks-device-id", "a".into()),
        ("fedecks-token", "made-up".into()),
        ("username", "marvin".into()),
        ("password", "42".into()),
    ]);
    assert_eq!(refused(&cloud, &header(&both)).await, is(401, "token-invalid"));
}

#[tokio::test]
async fn a_refusal_has_a_text_for_people_that_repeats_nothing_of_the_request() {
    let cloud = Cloud::start().await;
    let answer = raw(&cloud, &format!("{HEAD}{KEY}x-fedecks-auth: <script>\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("\r\nthe x-fedecks-auth header is not padded standard base64\n"));
    assert!(!answer.contains("script"), "{answer}");
}

const HEAD: &str = "GET /fedecks/websocket HTTP/1.1\r\nhost: x\r\n\
    connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-protocol: other, fedecks.v1.bincode\r\n";
const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends a head and tells what is answered, if the connection is closed then.
async fn raw(cloud: &Cloud, head: &str) -> String {
    let mut stream = cloud.tcp().await;
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    before_long("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_that_is_no_websocket_upgrade_is_answered_as_the_rfc_says() {
    let cloud = Cloud::start().await;
    let plain = raw(&cloud, "GET /fedecks/websocket HTTP/1.1\r\nhost: x\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{plain}");
    assert!(plain.contains("upgrade: websocket\r\n"), "{plain}");
    assert!(!plain.contains("x-fedecks-refusal"), "{plain}");

    let old = raw(&cloud, &format!("{HEAD}{KEY}").replace("13", "8")).await;
    assert!(old.starts_with("HTTP/1.1 426 "), "{old}");
    assert!(old.contains("sec-websocket-version: 13\r\n"), "{old}");

    for key in ["", "sec-websocket-key: short\r\n"] {
        let answer = raw(&cloud, &format!("{HEAD}{key}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let post = raw(&cloud, &format!("{HEAD}{KEY}").replace("GET", "POST")).await;
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    assert!(post.contains("allow: GET\r\n"), "{post}");
    let elsewhere = raw(&cloud, &format!("{HEAD}{KEY}").replace("/websocket", "/other")).await;
    assert!(elsewhere.starts_with("HTTP/1.1 404 "), "{elsewhere}");
}

#[tokio::test]
async fn the_upgrade_is_answered_with_the_accept_key_and_the_dialect() {
    let cloud = Cloud::start().await;
    let token = token("a", now(), now() + 100, 0);
    let auth = map(&[("fedecks-device-id", "a".into()), ("fedecks-token", token.expose().into())]);
    let head = format!("{HEAD}{KEY}x-fedecks-auth: {}\r\n\r\n", header(&auth));
    let mut stream = cloud.tcp().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(before_long("the answer", stream.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    // The example of RFC 6455, section 1.3.
    assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: fedecks.v1.bincode\r\n"), "{answer}");
}
