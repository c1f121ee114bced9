//! The server's side of the guide: a handler, its secret and salt, its place in an application.

use crate::support::{
    BY_CREDENTIALS, BY_TOKEN, Cloud, DEVICE, Device, PASSWORD, USER, downstream, folder, upstream,
    within,
};
use fedecks_cloud::protocol::{CloseCode, CloseReason};
use fedecks_cloud::{Denylist, Fedecks, Keyring, Options};
use fedecks_device::{Credentials, DeviceId, Event, LoginError, Term};
use warp::Filter;

#[tokio::test]
async fn authenticate_is_called_on_initial_authentication_with_credentials_and_device_id() {
    let mut cloud = Cloud::start().await;
    let data = folder();
    let mut device = Device::logged_in(cloud.address, data.path()).await;
    let (id, credentials) = within(cloud.logins.recv()).await.unwrap();
    assert_eq!(id.as_str(), DEVICE);
    assert_eq!(credentials.text("username"), Some(USER));
    assert_eq!(credentials.text("password"), Some(PASSWORD));

    // By token it is not asked again.
    cloud.hub.disconnect(&id, CloseReason::new(CloseCode::Normal)).await.unwrap();
    device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    device.until(|event| *event == Event::Connected).await;
    assert!(cloud.logins.try_recv().is_err());
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_cost_no_token() {
    let cloud = Cloud::start().await;
    let data = folder();
    let mut device = Device::logged_in(cloud.address, data.path()).await;
    let wrong = Credentials::new().with("username", USER).with("password", "guess");
    let error = within(device.client.login(wrong)).await.unwrap_err();
    assert!(
        matches!(error, LoginError::Rejected(refusal) if refusal.reason() == "bad-credentials")
    );
    device.until(|event| *event == Event::Connected).await;
}

#[tokio::test]
async fn connection_established_is_called_every_time_the_device_connects() {
    let mut cloud = Cloud::start().await;
    let data = folder();
    for by in [BY_CREDENTIALS, BY_TOKEN, BY_TOKEN] {
        let mut device = Device::start(cloud.address, data.path());
        if by == BY_CREDENTIALS {
            device.login().await;
        }
        assert_eq!(cloud.next_connection().await, by);
        device.until(|event| *event == Event::Connected).await;
        device.client.shutdown().await;
    }
}

#[tokio::test]
async fn handle_info_pushes_what_is_published_on_the_devices_topic() {
    let mut cloud = Cloud::start().await;
    let data = folder();
    let mut device = Device::logged_in(cloud.address, data.path()).await;
    cloud.next_connection().await;
    cloud.hub.publish(downstream("another-device"), Term::from("not for you")).await.unwrap();
    cloud.hub.publish(downstream(DEVICE), Term::from(["hi", "there"])).await.unwrap();
    let message = device.until(|event| matches!(event, Event::Message(_))).await;
    assert_eq!(message, Event::Message(Term::from(["hi", "there"])));
}

#[tokio::test]
async fn handle_in_gets_what_the_device_sends_and_can_publish_it() {
    let cloud = Cloud::start().await;
    let data = folder();
    let device = Device::logged_in(cloud.address, data.path()).await;
    let mut messages = cloud.hub.subscribe(upstream(DEVICE));
    device.client.send(&("hello", "matey")).await.unwrap();
    let info = within(messages.recv()).await.unwrap();
    assert_eq!(*info.message, Term::Tuple(vec!["hello".into(), "matey".into()]));
}

#[tokio::test]
async fn secret_and_salt_sign_the_token_that_is_used_for_re_authentication() {
    let mut cloud = Cloud::start().await;
    let data = folder();
    let mut device = Device::logged_in(cloud.address, data.path()).await;
    cloud.next_connection().await;
    // Another secret: the token means nothing to it, and the device keeps it all the same.
    let address = cloud.stop().await;
    device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    let other = "another secret that has enough characters, 64 of them or so.....";
    let wrong = Cloud::start_with(Options::default(), other, address).await;
    let failed = device
        .until(|event| matches!(event, Event::ConnectionFailed { reason } if reason.is_rejected()))
        .await;
    assert!(format!("{failed:?}").contains("TokenInvalid"), "{failed:?}");

    // The right one again: the device is back by itself.
    wrong.stop().await;
    let mut right = Cloud::start_at(address).await;
    device.until(|event| *event == Event::Connected).await;
    assert_eq!(right.next_connection().await, BY_TOKEN);
}

#[tokio::test]
async fn the_socket_is_mounted_at_fedecks_websocket_by_default_and_beside_other_routes() {
    let store = std::sync::Arc::new(fedecks_cloud::store::SqliteStore::in_memory().unwrap());
    struct Everybody;
    impl fedecks_cloud::Handler for Everybody {
        async fn authenticate(&self, _: fedecks_cloud::Login<'_>) -> fedecks_cloud::Decision {
            fedecks_cloud::Decision::Accept
        }
    }
    let fedecks = Fedecks::builder(Everybody)
        .keyring(Keyring::new(crate::support::SECRET, crate::support::SALT).unwrap())
        .denylist(Denylist::load(store).await.unwrap())
        .build()
        .unwrap();
    let own = warp::path("health").map(|| "fine");
    let server = fedecks_cloud::serve(
        own.or(fedecks.routes()),
        fedecks_cloud::ServeOptions {
            listen: vec![fedecks_cloud::Listen::plain(([127, 0, 0, 1], 0).into())],
            ..fedecks_cloud::ServeOptions::default()
        },
    )
    .unwrap();
    let data = folder();
    let mut device = Device::start(server.addresses()[0], data.path());
    device.login().await;
    device.until(|event| *event == Event::Connected).await;
    assert!(fedecks.hub().is_connected(&DeviceId::new(DEVICE).unwrap()).await.unwrap());
}
