//! The server's side of the guide: a handler, its secret and salt, its place in an application.

use crate::support::{
    By, Called, Cloud, DEVICE, MySocketHandler, downstream, logged_in_device, next_connection,
    start_cloud, upstream,
};
use fedecks_cloud::protocol::{CloseCode, CloseReason};
use fedecks_cloud::{Keyring, Listen, serve};
use fedecks_device::error::LoginError;
use fedecks_device::{DeviceId, Event, Term};
use fedecks_testing::cloud::{CloudOptions, published};
use fedecks_testing::{PASSWORD, SALT, USER};
use warp::Filter;

#[tokio::test]
async fn authenticate_decides_about_logins_and_not_about_tokens() {
    let mut cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    let Called::Authenticate(id, credentials) = cloud.next().await else { panic!("no login") };
    assert_eq!(id.as_str(), DEVICE);
    assert_eq!(credentials.text("username"), Some(USER));
    assert_eq!(credentials.text("password"), Some(PASSWORD));

    assert_eq!(next_connection(&mut cloud).await, By::Credentials);

    // Not for a token.
    cloud.hub.disconnect(&id, CloseReason::new(CloseCode::Normal)).await.unwrap();
    device.until_lost().await;
    device.until_connected().await;
    assert!(matches!(cloud.next().await, Called::Connected(By::Token)));

    // A refusal costs no token.
    let error = device.try_login(USER, "guess").await.unwrap_err();
    assert!(
        matches!(error, LoginError::Rejected(refusal) if refusal.reason() == "bad-credentials")
    );
    device.until_connected().await;
}

#[tokio::test]
async fn connected_is_called_every_time_the_device_connects() {
    let mut cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    assert_eq!(next_connection(&mut cloud).await, By::Credentials);
    for _ in 0..2 {
        device = device.restart().await;
        device.until_connected().await;
        assert_eq!(next_connection(&mut cloud).await, By::Token);
        assert!(device.client.status().token_expires_at.is_some());
    }
}

#[tokio::test]
async fn handle_in_publishes_and_handle_info_pushes_messages() {
    let mut cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    next_connection(&mut cloud).await;
    let mut messages = cloud.hub.subscribe(upstream(DEVICE));
    device.client.send(&("hello", "matey")).await.unwrap();
    let up = published(&mut messages).await.message;
    assert_eq!(*up, Term::Tuple(vec!["hello".into(), "matey".into()]));
    let words = up.parse::<(String, String)>().unwrap();
    assert_eq!(words, ("hello".into(), "matey".into()));

    cloud.hub.publish(downstream("another-device"), &Term::from("not for you")).await.unwrap();
    cloud.hub.publish(downstream(DEVICE), &Term::from(["hi", "there"])).await.unwrap();
    let down = device.message().await;
    assert_eq!(down, Term::from(["hi", "there"]));
    assert_eq!(down.parse::<Vec<String>>().unwrap(), ["hi", "there"]);
}

#[tokio::test]
async fn secret_and_salt_sign_the_token_of_later_connections() {
    let mut cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    next_connection(&mut cloud).await;
    // Another secret: the token means nothing to it, and the device keeps it all the same.
    let address = cloud.stop().await;
    device.until_lost().await;
    let other = "another secret that has enough characters, 64 of them or so.....";
    let keyring = Keyring::new(other, SALT).unwrap();
    let wrong = CloudOptions { address, keyring, ..CloudOptions::default() };
    let wrong = wrong.start(MySocketHandler).await;
    let failed = device
        .until(|event| matches!(event, Event::ConnectionFailed { reason } if reason.is_rejected()))
        .await;
    assert!(format!("{failed:?}").contains("TokenInvalid"), "{failed:?}");

    // The right one again: the device is back by itself.
    wrong.stop().await;
    let mut right = Cloud::start_at(address, MySocketHandler).await;
    device.until_connected().await;
    assert_eq!(next_connection(&mut right).await, By::Token);
}

#[tokio::test]
async fn the_socket_is_at_fedecks_websocket_next_to_other_routes() {
    let own = warp::path("health").map(|| "fine");
    let listen = Listen::plain(([127, 0, 0, 1], 0).into());
    let cloud = CloudOptions::default().start_by(MySocketHandler, |fedecks| {
        let server = serve(own.or(fedecks.routes()), listen).unwrap();
        (server.addresses()[0], Some(server))
    });
    let cloud = cloud.await;
    let _device = logged_in_device(cloud.address).await;
    assert!(cloud.hub.is_connected(&DeviceId::new(DEVICE).unwrap()).await.unwrap());
}
