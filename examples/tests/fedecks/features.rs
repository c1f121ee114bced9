//! The features of Fedecks, as its description lists them: each as a test of both ends together.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::proxy::{Proxy, Weather};
use crate::support::{
    By, DEVICE, downstream, logged_in_device, next_connection, start_cloud, start_cloud_with,
    start_device, upstream,
};
use fedecks_cloud::Options;
use fedecks_cloud::store::unix_now;
use fedecks_device::event::{FailReason, LostReason};
use fedecks_device::{Event, State};
use fedecks_testing::cloud::published;
use fedecks_testing::wait::{until_every, within};
use fedecks_testing::{PASSWORD, USER};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

#[tokio::test]
async fn automatically_reestablishes_a_lost_connection() {
    let mut cloud = start_cloud().await;
    let proxy = Proxy::start(cloud.address).await;
    let mut device = logged_in_device(proxy.address).await;
    assert_eq!(next_connection(&mut cloud).await, By::Credentials);

    proxy.set(Weather::Cut);
    device.until_lost().await;
    device.until(|event| matches!(event, Event::ConnectionFailed { .. })).await;
    proxy.set(Weather::Fine);
    device.until_connected().await;
    assert_eq!(next_connection(&mut cloud).await, By::Token);
}

#[tokio::test]
async fn pings_keep_a_connection_and_a_missing_pong_ends_it() {
    let options = Options::default().with(|it| {
        it.heartbeat = Duration::from_secs(1);
        it.idle_timeout = Duration::from_secs(2);
    });
    let mut cloud = start_cloud_with(options).await;
    let proxy = Proxy::start(cloud.address).await;
    let mut device = logged_in_device(proxy.address).await;
    next_connection(&mut cloud).await;
    // The cloud drops a silent device after 2 s.
    let lost = device.until(|event| matches!(event, Event::ConnectionLost { .. }));
    assert!(tokio::time::timeout(Duration::from_millis(3_500), lost).await.is_err());
    assert_eq!(device.client.status().state, State::Connected);

    proxy.set(Weather::Silent);
    let lost = device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    assert_eq!(lost, Event::ConnectionLost { reason: LostReason::NoPong });
    proxy.set(Weather::Fine);
    device.until_connected().await;
    assert_eq!(next_connection(&mut cloud).await, By::Token);
}

#[tokio::test]
async fn no_credentials_are_stored_on_the_device() {
    let cloud = start_cloud().await;
    let device = logged_in_device(cloud.address).await;
    device.client.shutdown().await;

    let mut files = 0;
    for entry in std::fs::read_dir(device.data.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        for secret in [USER, PASSWORD] {
            let found = content.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is on disk");
        }
    }
    assert!(files > 0, "the token should be there");
}

#[tokio::test]
async fn the_token_is_refreshed_and_expires_as_configured() {
    let options = Options::default().with(|it| {
        it.token_lifetime = Duration::from_secs(2);
        it.token_refresh = Duration::from_secs(1);
        it.token_grace = Duration::ZERO;
    });
    let cloud = start_cloud_with(options).await;
    let device = logged_in_device(cloud.address).await;
    let mut status = device.client.watch_status();
    let first = status.borrow_and_update().token_expires_at;
    let refreshed = within(status.wait_for(|status| status.token_expires_at > first)).await;
    let expires = refreshed.unwrap().token_expires_at.unwrap();
    device.client.shutdown().await;
    assert!(expires <= unix_now() + 2);
    // Only the clock says when the token has expired.
    until_every(Duration::from_millis(50), async || (unix_now() > expires).then_some(())).await;
    let mut late = device.restart().await;
    let failed = late.until(|event| matches!(event, Event::ConnectionFailed { .. })).await;
    assert!(matches!(failed, Event::ConnectionFailed { reason: FailReason::Refused(refusal) }
            if refusal.reason() == "token-expired"));
    late.until(|event| *event == Event::TokenLate).await;
}

#[tokio::test]
async fn no_need_to_decode_or_encode_yourself() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Reading {
        sensor: String,
        values: Vec<f32>,
        tags: BTreeMap<u16, Option<bool>>,
    }
    let reading = Reading {
        sensor: "roof".into(),
        values: vec![21.5, -3.25],
        tags: BTreeMap::from([(7, Some(true)), (9, None)]),
    };
    let cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    let mut messages = cloud.hub.subscribe(upstream(DEVICE));
    device.client.send(&reading).await.unwrap();
    let up = published(&mut messages).await;
    assert_eq!(up.message.parse::<Reading>().unwrap(), reading);

    cloud.hub.publish(downstream(DEVICE), &reading).await.unwrap();
    assert_eq!(device.message().await.parse::<Reading>().unwrap(), reading);
}

#[tokio::test]
async fn token_or_credentials_are_sent_in_a_header() {
    // Not a cloud but a listener that keeps the request: a proxy's access log sees its first line.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let device = start_device(listener.local_addr().unwrap()).await;
    let login = tokio::spawn(async move { device.try_login(USER, PASSWORD).await });
    let (mut socket, _) = within(listener.accept()).await.unwrap();
    let (reader, mut writer) = socket.split();
    let mut lines = BufReader::new(reader).lines();
    let mut head = Vec::new();
    while let Some(line) = within(lines.next_line()).await.unwrap().filter(|line| !line.is_empty())
    {
        head.push(line);
    }
    let refusal = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Fedecks\r\n\
                   x-fedecks-refusal: bad-credentials\r\ncontent-length: 0\r\n\r\n";
    writer.write_all(refusal.as_bytes()).await.unwrap();
    assert_eq!(head[0], "GET /fedecks/websocket HTTP/1.1");
    let header = head.iter().find(|line| line.to_ascii_lowercase().starts_with("x-fedecks-auth:"));
    assert!(header.is_some(), "no x-fedecks-auth header");
    assert!(!head.iter().any(|line| line.contains(PASSWORD)));
    assert!(within(login).await.unwrap().is_err());
}
