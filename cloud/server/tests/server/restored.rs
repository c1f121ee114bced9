//! Kept messages after the server's store was restored from a backup: what is new passes in both directions, and what
//! was lost with the store stays lost.

use fedecks_device::deliveries::{Deliveries, Lane};
use fedecks_device::kept::{Keep, Settled};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::wait::{until, within};
use http::StatusCode;

use crate::support::PROGRAM;

const QUEUE: &str = "/api/v1/devices/kitchen-1/messages";

async fn keep(device: &Device, number: u32) {
    let kept = device.client.send_kept(&number, Keep::in_memory()).await.unwrap();
    assert_eq!(within(kept.settled()).await, Ok(Settled::Delivered));
}

/// Queues a message for the device, which acknowledges it, and waits until the server knows that. Returns whether it was
/// flagged.
async fn deliver(http: &Http, deliveries: &mut Deliveries, number: u32) -> bool {
    let answer = http.post(&format!("{QUEUE}?keep=true"), number.to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let delivery = within(deliveries.next()).await.unwrap();
    assert_eq!((delivery.parse().ok(), delivery.id().to_string()), (Some(number), id.clone()));
    let redelivered = delivery.redelivered();
    delivery.ack();
    until(async || {
        let state = http.get(&format!("{QUEUE}/{id}")).await.json();
        (state["state"] == "delivered").then_some(())
    })
    .await;
    redelivered
}

#[tokio::test]
async fn new_messages_pass_after_a_restore_in_both_directions() {
    let mut cloud = CloudProcess::start(PROGRAM, "").await;
    let token = cloud.token("ci", &["--role", "read", "--role", "send"]).await;
    let url = format!("ws://{}", cloud.address);
    let mut device =
        Device::start_with(&url, "kitchen-1", |builder| builder.wait_for_consumer(true)).await;
    device.login().await;
    let http = cloud.http().token(&token).json();
    let mut deliveries = device.client.deliveries(Lane::Normal).unwrap();
    for number in 1..=3 {
        keep(&device, number).await;
        assert!(!deliver(&http, &mut deliveries, number).await);
    }
    cloud.program.run(&["backup", "copy"], "").await;
    for number in 4..=8 {
        keep(&device, number).await;
        assert!(!deliver(&http, &mut deliveries, number).await);
    }

    cloud.kill().await;
    cloud.program.run(&["restore", "copy"], "").await;
    cloud.start_again().await;
    device.until_connected().await;
    for number in 9..=12 {
        keep(&device, number).await;
        deliver(&http, &mut deliveries, number).await;
    }
    let page = http.get("/api/v1/messages").await.json();
    let numbers: Vec<_> =
        page["messages"].as_array().unwrap().iter().map(|it| it["message"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3, 9, 10, 11, 12].map(Some));
}

#[tokio::test]
async fn what_a_restored_store_sends_again_is_flagged() {
    let mut cloud = CloudProcess::start(PROGRAM, "").await;
    let token = cloud.token("ci", &["--role", "read", "--role", "send"]).await;
    let http = cloud.http().token(&token).json();
    drop(cloud.device("kitchen-1").await);
    let queued = async || {
        let answer = http.post(&format!("{QUEUE}?keep=true"), "1").await;
        (answer.status == StatusCode::ACCEPTED).then(|| answer.json()["id"].to_string())
    };
    // Once the server has noted the device.
    let id = until(queued).await;
    cloud.program.run(&["backup", "copy"], "").await;

    let url = format!("ws://{}", cloud.address);
    for redelivered in [false, true] {
        // Another one than before: it does not know what the former has acknowledged.
        let mut device =
            Device::start_with(&url, "kitchen-1", |builder| builder.wait_for_consumer(true)).await;
        cloud.allow_reregistration("kitchen-1").await;
        device.login().await;
        let mut deliveries = device.client.deliveries(Lane::Normal).unwrap();
        let delivery = within(deliveries.next()).await.unwrap();
        assert_eq!(format!("\"{}\"", delivery.id()), id);
        assert_eq!(delivery.redelivered(), redelivered);
        delivery.ack();
        let is_delivered = async || {
            let state = http.get(&format!("{QUEUE}/{}", id.trim_matches('"'))).await.json();
            (state["state"] == "delivered").then_some(())
        };
        until(is_delivered).await;
        drop(device);
        cloud.kill().await;
        cloud.program.run(&["restore", "copy"], "").await;
        cloud.start_again().await;
    }
}
