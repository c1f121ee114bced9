//! What a program on one of the libraries may rely on from its first lines on.

#![allow(clippy::wildcard_enum_match_arm, reason = "other events matter to no test")]

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::messaging::TopicEvent;
use fedecks_cloud::store::{Actor, DeviceStore, SqliteStore, StoreOptions};
use fedecks_cloud::{Fedecks, Listen, serve};
use fedecks_device::{Client, DeviceId, Event, Events, State, Term};
use fedecks_testing::device::{Device, credentials};
use fedecks_testing::wait::within;
use fedecks_testing::{PASSWORD, USER};

use crate::support::{
    By, Cloud, DEVICE, MySocketHandler, downstream, logged_in_device, next_connection, start_cloud,
    start_device,
};

/// Starts a client with this data. Its program logs in on the event that it is not registered.
async fn start(cloud: &Cloud, data: &std::path::Path) -> (Client, Events) {
    let url = format!("ws://{}", cloud.address).parse().unwrap();
    let id = DeviceId::new(DEVICE).unwrap();
    Client::builder(url, id).data_dir(data).start().await.unwrap()
}

#[tokio::test]
async fn a_second_start_comes_by_token() {
    let mut cloud = start_cloud().await;
    let data = tempfile::tempdir().unwrap();
    for expected in [By::Credentials, By::Token] {
        let (client, mut events) = start(&cloud, data.path()).await;
        loop {
            match within(events.next()).await.unwrap() {
                Event::Unregistered => {
                    within(client.login(credentials(USER, PASSWORD))).await.unwrap();
                }
                Event::Connected => break,
                _ => {}
            }
        }
        assert_eq!(next_connection(&mut cloud).await, expected);
        within(client.shutdown()).await;
    }
}

#[tokio::test]
async fn the_state_after_a_start_is_that_of_the_stored_token() {
    let cloud = start_cloud().await;
    let device = logged_in_device(cloud.address).await;
    device.client.shutdown().await;
    let (client, _) = start(&cloud, device.data.path()).await;
    let status = client.status();
    assert!(!matches!(status.state, State::Loading | State::Unregistered), "{:?}", status.state);
    assert!(!status.needs_login() && status.token_expires_at.is_some());

    let empty = tempfile::tempdir().unwrap();
    let (client, _) = start(&cloud, empty.path()).await;
    assert_eq!(client.status().state, State::Unregistered);
    assert!(client.status().needs_login());
}

#[tokio::test]
async fn a_loop_over_events_goes_on_after_missed_ones() {
    const MESSAGES: i64 = 20;
    let cloud = start_cloud().await;
    let mut device = Device::start_with(&format!("ws://{}", cloud.address), DEVICE, |builder| {
        builder.event_queue(4).pong_deadline(Duration::from_millis(100))
    })
    .await;
    device.login().await;
    let received = || device.client.health().traffic.messages_received;
    for number in 0..MESSAGES {
        let before = received();
        cloud.hub.publish(downstream(DEVICE), &Term::from(number)).await.unwrap();
        fedecks_testing::wait::until(async || (received() > before).then_some(())).await;
    }
    let (mut messages, mut missed) = (0, 0);
    while messages + missed < MESSAGES {
        match within(device.events.next()).await.unwrap() {
            Event::Message(_) => messages += 1,
            Event::Missed { count } => missed += i64::try_from(count).unwrap(),
            _ => {}
        }
    }
    assert!(messages > 0 && missed > 0, "{messages} {missed}");
}

#[tokio::test]
async fn a_loop_over_a_topic_goes_on_after_missed_messages() {
    let cloud = start_cloud().await;
    let mut subscription = cloud.hub.subscribe("t");
    for number in 0..2_000 {
        cloud.hub.publish("t", &Term::from(number)).await.unwrap();
    }
    let (mut messages, mut missed) = (0, 0);
    while messages + missed < 2_001 {
        match within(subscription.next()).await.unwrap() {
            TopicEvent::Message(_) => messages += 1,
            TopicEvent::Missed { count } => {
                missed += count;
                cloud.hub.publish("t", &Term::from(2_000)).await.unwrap();
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((messages, missed), (1_025, 976));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_subscription_misses_nothing() {
    let cloud = start_cloud().await;
    let mut device = start_device(cloud.address).await;
    device.try_login(USER, PASSWORD).await.unwrap();
    // Whatever else a program does before it reads.
    let mut status = device.client.watch_status();
    within(status.wait_for(|status| status.state == State::Connected)).await.unwrap();
    assert_eq!(within(device.events.next()).await, Some(Event::Unregistered));
}

#[tokio::test]
async fn a_cloud_hears_what_the_command_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fedecks.sqlite");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let (calls, _calls) = tokio::sync::mpsc::unbounded_channel();
    let keyring = fedecks_testing::cloud::keyring();
    let fedecks = Fedecks::builder(MySocketHandler(calls), keyring, store).build().await.unwrap();
    let listen = Listen::plain("127.0.0.1:0".parse().unwrap());
    let server = serve(fedecks.routes(), listen).unwrap();
    let mut device = start_device(server.addresses()[0]).await;
    device.login().await;
    // As `fedecks-cloud device block` does.
    let other = SqliteStore::open_beside(&path, StoreOptions::default()).unwrap();
    other.block(&DeviceId::new(DEVICE).unwrap(), &Actor::cli()).await.unwrap();
    device.until_lost().await;
}
