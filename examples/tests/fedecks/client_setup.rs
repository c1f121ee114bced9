//! The device's side of the guide: an id, a URL, a login, messages.

use crate::support::{DEVICE, logged_in_device, start_cloud, start_cloud_with, start_device};
use fedecks_device::error::{ClientSendError, LogoutError, SendError};
use fedecks_device::{Event, State};
use fedecks_network_watch::{NetworkWatch, watch_network};
use fedecks_testing::wait::within;
use fedecks_testing::{PASSWORD, USER};

#[tokio::test]
async fn a_device_does_not_dial_or_send_before_its_login() {
    let mut cloud = start_cloud().await;
    let mut device = start_device(cloud.address).await;
    assert_eq!(within(device.events.next()).await, Some(Event::Unregistered));
    assert_eq!(device.client.status().state, State::Unregistered);
    assert!(cloud.try_next().is_none());
    // The message is only borrowed.
    let error = within(device.client.send(&("hello", "matey"))).await.unwrap_err();
    assert_eq!(error, ClientSendError::Send(SendError::NotConnected));
    device.try_login(USER, PASSWORD).await.unwrap();
    assert!(matches!(within(device.events.next()).await, Some(Event::Connecting { .. })));
    assert_eq!(within(device.events.next()).await, Some(Event::Connected));
}

#[tokio::test]
async fn an_application_can_have_the_network_watched() {
    let cloud = start_cloud().await;
    let device = start_device(cloud.address).await;
    let watch = tokio::spawn(watch_network(device.client.clone(), NetworkWatch::Netlink));
    let mut status = device.client.watch_status();
    within(status.wait_for(|status| status.network.is_some())).await.unwrap();
    device.client.shutdown().await;
    within(watch).await.unwrap();
}

#[tokio::test]
async fn logout_forgets_the_token_or_says_what_is_left_on_disk() {
    let cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    assert!(device.data.path().join("token").exists());
    // All that wait are answered together.
    let both = async { tokio::join!(device.client.logout(), device.client.logout()) };
    let (first, second) = within(both).await;
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert!(!device.data.path().join("token").exists());
    device.until(|event| *event == Event::Unregistered).await;
    let mut device = device.restart().await;
    assert_eq!(within(device.events.next()).await, Some(Event::Unregistered));

    device.login().await;
    // A folder in the token's place cannot be removed as a file.
    std::fs::remove_file(device.data.path().join("token")).unwrap();
    std::fs::create_dir_all(device.data.path().join("token/not-empty")).unwrap();
    let error = within(device.client.logout()).await.unwrap_err();
    assert!(matches!(error, LogoutError::StillStored(_)), "{error}");
    device.until(|event| *event == Event::Unregistered).await;
}

#[tokio::test]
async fn a_message_above_the_clouds_limit_is_refused_by_the_device() {
    let options = fedecks_cloud::Options::default().with(|it| it.max_frame = 2_048);
    let cloud = start_cloud_with(options).await;
    let device = logged_in_device(cloud.address).await;
    let error = within(device.client.send_raw(&[0; 4_096])).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot encode the message: 4098 bytes exceed the limit of 2048");
    within(device.client.send_raw(&[0; 1_024])).await.unwrap();
}

#[tokio::test]
async fn a_revoked_device_loses_its_token_at_once() {
    let cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    let id = fedecks_device::DeviceId::new(DEVICE).unwrap();
    cloud.denylist.revoke(&id, &fedecks_cloud::store::Actor::cli()).await.unwrap();
    device.until_lost().await;
    device.until(|event| *event == Event::Unregistered).await;
    assert_eq!(device.client.status().token_expires_at, None);
}
