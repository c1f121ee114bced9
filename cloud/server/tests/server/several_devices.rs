//! Devices at several servers: they are reached from each, and move between them.

use std::time::{Duration, Instant, SystemTime};

use fedecks_common::utc_millis;
use fedecks_device::deliveries::{Deliveries, Lane};
use fedecks_device::{Client, CloudUrl, DeviceId, Event};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::http::Http;
use fedecks_testing::tcp_relay::{Link, NewConnections, TcpRelay};
use fedecks_testing::wait::within;
use http::StatusCode;
use serde_json::json;

use crate::several::{Fleet, PATIENCE, at_last, place};

const DEVICE: &str = "/api/v1/devices/kitchen-1";

/// Two servers that reach each other, and a client for the API of the first one.
async fn two(fleet: &Fleet) -> (CloudProcess, CloudProcess, Http) {
    let (one, two) = (fleet.server("one", "").await, fleet.server("two", "").await);
    for server in [&one, &two] {
        let joined = async || {
            let place = place(server).await;
            (place["backplane"] == "connected" && place["others"] == 1).then_some(())
        };
        at_last("the servers reach each other", joined).await;
    }
    let token = one.token("all", &["--role", "read", "--role", "send"]).await;
    let http = one.http().token(&token).json();
    (one, two, http)
}

/// Waits until the first server knows that the device is connected.
async fn is_known(http: &Http) {
    let connected = async || (http.get(DEVICE).await.json()["connected"] == true).then_some(());
    at_last("the device is known", connected).await;
}

async fn keep(http: &Http, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let kept = http.post(&format!("{DEVICE}/messages?keep=true"), number.to_string()).await;
        assert_eq!(kept.status, StatusCode::ACCEPTED, "{kept:?}");
    }
}

async fn receive(deliveries: &mut Deliveries, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let delivery = within(deliveries.next()).await.unwrap();
        assert_eq!((delivery.parse(), delivery.redelivered()), (Ok(number), false));
        delivery.ack();
    }
}

#[tokio::test]
async fn a_device_is_reached_from_each_server() {
    let Some(fleet) = Fleet::start().await else { return };
    let (_one, two, http) = two(&fleet).await;
    let mut device = two.device("kitchen-1").await;
    is_known(&http).await;
    let sent = http.post(&format!("{DEVICE}/messages"), "\"hello\"").await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{sent:?}");
    device.until(|event| *event == Event::Message("hello".into())).await;

    let mut deliveries = device.client.deliveries(Lane::Normal).unwrap();
    keep(&http, 0..3).await;
    receive(&mut deliveries, 0..3).await;

    let mut requests = device.client.requests().unwrap();
    let answers = async {
        let request = within(requests.next()).await.unwrap();
        assert_eq!(request.parse::<u32>(), Ok(20));
        request.reply(&22).await.unwrap();
    };
    let requests = format!("{DEVICE}/requests");
    let (answer, ()) = tokio::join!(http.post(&requests, "20"), answers);
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "reply": 22 })));
}

#[tokio::test]
async fn a_device_moves_to_another_server() {
    let Some(fleet) = Fleet::start().await else { return };
    let (one, two, http) = two(&fleet).await;
    let mut before = one.device("kitchen-1").await;
    let mut deliveries = before.client.deliveries(Lane::Normal).unwrap();
    keep(&http, 0..3).await;
    receive(&mut deliveries, 0..3).await;
    drop(deliveries);
    let delivered = async || {
        let listed = http.get(&format!("{DEVICE}/messages")).await.json();
        let listed = listed["messages"].as_array().unwrap();
        listed.iter().all(|it| it["state"] == "delivered").then_some(())
    };
    at_last("all are acknowledged", delivered).await;

    // The same token, at the other server, while the first connection is open.
    let data = tempfile::tempdir().unwrap();
    std::fs::copy(before.data.path().join("token"), data.path().join("token")).unwrap();
    let url: CloudUrl = format!("ws://{}", two.address).parse().unwrap();
    let builder = Client::builder(url, DeviceId::new("kitchen-1").unwrap()).data_dir(data.path());
    let (client, mut events) = builder.start().await.unwrap();
    within(async { while events.next().await.unwrap() != Event::Connected {} }).await;
    before.until(|event| *event == Event::Replaced).await;
    is_known(&http).await;
    let mut deliveries = client.deliveries(Lane::Normal).unwrap();
    keep(&http, 3..6).await;
    receive(&mut deliveries, 3..6).await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_server_without_its_database_sends_devices_away() {
    let Some(fleet) = Fleet::start().await else { return };
    let _one = fleet.server("one", "").await;
    let (before, rest) = fleet.url.split_once('@').unwrap();
    let (address, database) = rest.split_once('/').unwrap();
    let relay = TcpRelay::start(address.parse().unwrap()).await;
    let url = format!("{before}@{}/{database}", relay.address);
    let mut two = fleet.program(&url, "two", "").serve(&[]).await;
    let mut device = two.device("kitchen-1").await;
    at_last("they reach each other", async || (place(&two).await["others"] == 1).then_some(()))
        .await;

    relay.set(Link::Cut(NewConnections::Refused));
    relay.reset();
    let cut = Instant::now();
    let isolated = async || {
        let ready = two.http().get("/readyz").await;
        (ready.json()["lease"] == "isolated").then_some(ready.status)
    };
    assert_eq!(at_last("it is isolated", isolated).await, StatusCode::SERVICE_UNAVAILABLE);
    // The sessions that it has stay for a minute.
    let lost = async {
        while !matches!(device.events.next().await.unwrap(), Event::ConnectionLost { .. }) {}
    };
    tokio::time::timeout(PATIENCE, lost).await.expect("its device is sent away");
    assert!(cut.elapsed() > Duration::from_secs(60), "{:?}", cut.elapsed());
    relay.set(Link::default());
    let ended = at_last("it ends", async || two.try_ended()).await;
    assert_eq!(ended.code(), Some(75), "{}", two.log());
}

#[tokio::test]
async fn a_server_without_nats_keeps_its_devices() {
    let Some(fleet) = Fleet::start().await else { return };
    let one = fleet.server("one", "").await;
    let relay = TcpRelay::start(fleet.nats.address).await;
    let two = fleet.program(&fleet.url, "two", "");
    let two = two.variable("FEDECKS_CLUSTER_NATS", format!("nats://{}", relay.address));
    let mut two = two.serve(&[]).await;
    let mut device = two.device("kitchen-1").await;
    let token = one.token("all", &["--role", "read", "--role", "send"]).await;
    let http = one.http().token(&token).json();
    is_known(&http).await;
    let mut events = one.http().token(&token).events("/api/v1/events?kind=disconnected").await;

    let is_connected = async || http.get(DEVICE).await.json()["connected"] == true;
    relay.set(Link::Cut(NewConnections::Refused));
    relay.reset();
    at_last("it is lost", async || (!is_connected().await).then_some(())).await;
    // That is after 10 s, and its devices have another 10 s to come back.
    tokio::time::sleep(Duration::from_secs(15)).await;
    relay.set(Link::default());
    at_last("it is back", async || is_connected().await.then_some(())).await;
    let killed = utc_millis(SystemTime::now()).to_string();
    two.kill().await;
    device.until_lost().await;
    // What was recorded before would come first.
    let disconnected = loop {
        let event = events.next_within(PATIENCE).await;
        if event["kind"] != "gap" {
            break event;
        }
    };
    assert_eq!(disconnected["reason"], "the server that it was connected to was lost");
    assert!(disconnected["time"].as_str() > Some(&*killed), "{disconnected}");
}
