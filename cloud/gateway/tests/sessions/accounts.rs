//! The ready-made handler, from a device's WebSocket to the topics and back.

use std::sync::Arc;

use fedecks_cloud::accounts::{AccountHandler, hash_password};
use fedecks_cloud::store::unix_now;
use fedecks_cloud::store::{AccountStore, Actor, SqliteStore};
use fedecks_protocol::{Term, UpFrame};
use fedecks_testing::cloud::{CloudOptions, published};
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until;
use fedecks_testing::{PASSWORD, USER};
use tokio::sync::mpsc::UnboundedSender;

use crate::support::id;

#[tokio::test]
async fn messages_are_published_up_and_forwarded_down() {
    let accounts = Arc::new(SqliteStore::in_memory().unwrap());
    let hash = hash_password(PASSWORD).unwrap();
    accounts.add_account(USER, &hash, &Actor::cli()).await.unwrap();
    let handler = |_: UnboundedSender<()>| AccountHandler::new(accounts);
    let cloud = CloudOptions::default().start(handler).await;
    let mut up = cloud.hub.subscribe("up.nerves-1");

    let mut device = RawDevice::login(cloud.address, "nerves-1").await;
    device.say("hello").await;
    assert_eq!(*published(&mut up).await.message, Term::from("hello"));
    device.send(&UpFrame::Raw { sequence: None, bytes: vec![1, 2, 3] }).await;
    assert_eq!(*published(&mut up).await.message, Term::Bytes(vec![1, 2, 3]));

    // Its message was handled, so its subscription is in place.
    cloud.hub.publish("down.nerves-2", &Term::from("for another")).await.unwrap();
    cloud.hub.publish("down.nerves-1", &Term::from("matey")).await.unwrap();
    assert_eq!(device.receive().await, Term::from("matey"));
    let record = until(async || cloud.store.device(&id("nerves-1")).await.unwrap()).await;
    assert!(record.last_seen.unwrap().abs_diff(unix_now()) <= 5);
}
