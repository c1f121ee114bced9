//! Two services with one data directory, and so with one token: only one of them may use it.

use std::fs;

use crate::support::fedecksd::{Fedecksd, Setup, connected};
use crate::support::{By, Cloud, cloud};

const IN_USE: &str = "is in use by another process";

/// Exit status of a service whose data directory is in use; docs/device.md says the same.
const IN_USE_STATUS: i32 = 75;

/// A service that has its token, and uses the data directory.
async fn logged_in(cloud: &mut Cloud) -> (Setup, Fedecksd) {
    let setup = Setup::new(cloud.address).with_credentials();
    let mut service = setup.start();
    assert_eq!(connected(cloud).await, By::Credentials);
    service.logs("used and removed").await;
    (setup, service)
}

#[tokio::test]
async fn a_second_service_ends_and_leaves_the_first_alone() {
    let mut cloud = cloud().await;
    let (setup, first) = logged_in(&mut cloud).await;

    let (status, log) = setup.start().ended().await;
    assert_eq!(status, Some(IN_USE_STATUS), "{log}");
    let last = log.lines().last().unwrap();
    let data = setup.data();
    let expected = format!("fedecksd: the data directory {} {IN_USE}", data.display());
    assert!(last.starts_with(&expected), "{log}");
    assert!(log.contains("waiting for the process"), "{log}");
    let log = first.terminate().await;
    assert_eq!(log.matches("connecting attempt=").count(), 1, "{log}");
}

#[tokio::test]
async fn a_service_waits_for_its_predecessor_to_end() {
    let mut cloud = cloud().await;
    let (setup, first) = logged_in(&mut cloud).await;
    let mut second = setup.start();
    second.logs("waiting for the process").await;
    first.begin_to_terminate();
    assert_eq!(connected(&mut cloud).await, By::Token);
    second.terminate().await;
    assert_eq!(first.ended().await.0, Some(0));
}

#[tokio::test]
async fn a_killed_service_leaves_no_lock() {
    let mut cloud = cloud().await;
    let (setup, first) = logged_in(&mut cloud).await;
    first.kill().await;
    assert!(setup.data().join("lock").exists());
    let log = setup.run(&mut cloud, By::Token, " connected").await;
    assert!(!log.contains(IN_USE), "{log}");
}

#[tokio::test]
async fn a_late_partition_is_used_by_one_of_two_services() {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials();
    setup.run(&mut cloud, By::Credentials, "used and removed").await;
    let away = setup.unmount_data();
    let mut services = [setup.start(), setup.start()];
    for service in &mut services {
        service.logs("does not exist").await;
    }
    fs::rename(away, setup.data()).unwrap();
    assert_eq!(connected(&mut cloud).await, By::Token);
    let [mut one, mut other] = services;
    let one_waits = tokio::select! {
        _ = one.logs(IN_USE) => true,
        _ = other.logs(IN_USE) => false,
    };
    let (user, mut waiting) = if one_waits { (other, one) } else { (one, other) };
    let log = user.terminate().await;
    assert_eq!(log.matches("connecting attempt=").count(), 1, "{log}");
    assert_eq!(connected(&mut cloud).await, By::Token);
    waiting.logs(" connected").await;
}
