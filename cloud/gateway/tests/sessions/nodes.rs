//! Several nodes on one backplane.

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::messaging::{DeliverError, InProcess, SendError};
use fedecks_protocol::{CloseCode, CloseReason, Term};
use fedecks_testing::cloud::CloudOptions;
use fedecks_testing::raw_device::{RawDevice, fresh_token};

use crate::support::{Cloud, CloudExt, Obedient, assert_echo, id};

async fn two() -> (Cloud, Cloud) {
    let backplane = Arc::new(InProcess::new());
    let node = async || {
        let backplane = Some(backplane.clone() as _);
        CloudOptions { backplane, ..CloudOptions::default() }.start(Obedient).await
    };
    (node().await, node().await)
}

#[tokio::test]
async fn a_node_reaches_the_devices_of_another_one() {
    let (one, two) = two().await;
    let mut device = two.connect("a").await;
    assert!(one.hub.is_connected(&id("a")).await.unwrap());
    let presence = one.hub.find(&id("a")).await.unwrap().unwrap();
    assert_eq!(presence.connection.node(), two.hub.node());
    one.hub.send(&id("a"), "from afar").await.unwrap();
    assert_eq!(device.receive().await, Term::from("from afar"));
    assert_echo(&mut device, "subscribed by now").await;
    one.hub.publish("downstream.a", &Term::from("published afar")).await.unwrap();
    assert_eq!(device.receive().await, Term::from("published afar"));
    let reason = CloseReason::new(CloseCode::Policy);
    assert!(one.hub.disconnect(&id("a"), reason).await.unwrap());
    assert_eq!(device.closed().await, reason);
}

#[tokio::test]
async fn every_node_notices_that_a_device_moves_and_leaves() {
    let (one, two) = two().await;
    let mut old = one.connect("a").await;
    let mut new = two.connect("a").await;
    assert_eq!(old.closed().await, CloseReason::new(CloseCode::Replaced));
    old.ended().await;
    one.until_connected(0).await;
    for hub in [&one.hub, &two.hub] {
        assert_eq!(hub.list().await.unwrap().len(), 1);
        hub.send(&id("a"), "here").await.unwrap();
        assert_eq!(new.receive().await, Term::from("here"));
    }

    new.ws.close(None).await.unwrap();
    new.ended().await;
    two.until_connected(0).await;
    assert!(!one.hub.is_connected(&id("a")).await.unwrap());
    let error = one.hub.send(&id("a"), "too late").await.unwrap_err();
    assert_eq!(error, SendError::Deliver(DeliverError::NotConnected));
}

#[tokio::test]
async fn a_node_may_refuse_new_devices_and_send_the_others_away() {
    let (one, two) = two().await;
    let mut stays = one.connect("a").await;
    one.hub.refuse_new(true);
    let refused = RawDevice::dial(one.address, "b", fresh_token("b")).await.unwrap_err();
    assert_eq!((refused.status, refused.reason.as_deref()), (503, Some("unavailable")));
    let _elsewhere = two.connect("b").await;
    assert_echo(&mut stays, "still here").await;
    let closing = one.hub.disconnect_all(10, Duration::from_secs(5));
    let (closed, close) = tokio::join!(closing, stays.closed());
    assert_eq!((closed, close.code), (1, CloseCode::Restart));
    assert!(two.hub.is_connected(&id("b")).await.unwrap(), "only this node is concerned");
    one.hub.refuse_new(false);
    one.connect("a").await;
}
