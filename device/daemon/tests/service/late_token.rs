//! A token that the cloud says has expired: the cloud's clock may be wrong, so it is kept.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fedecks_cloud::auth::Claims;
use fedecks_cloud::store::{Clock, ManualClock, unix_now};
use fedecks_device::storage::TokenStore;
use fedecks_protocol::{DeviceId, IssuedToken};
use fedecks_testing::cloud::{CloudOptions, keyring};

use crate::support::fedecksd::{DEVICE, Setup, connected};
use crate::support::{By, Cloud, PASSWORD, Recorder, Seen, cloud, credentials, until, write};

const REFUSED: &str = "the cloud refused: the token has expired";
const DAY: u64 = 86_400;

fn device() -> DeviceId {
    DEVICE.parse().unwrap()
}

fn store(setup: &Setup) -> TokenStore {
    TokenStore::new(setup.data(), device())
}

/// What the cloud of the tests has sealed some days ago, for four weeks.
fn token_of(days: u64) -> IssuedToken {
    let issued_at = unix_now() - days * DAY;
    let expires_at = issued_at + 28 * DAY;
    keyring().seal(&Claims { device: device(), issued_at, expires_at, generation: 0 })
}

/// The device has not reached its cloud for so long that its token is of no use any more.
pub(crate) fn with_late_token(setup: Setup) -> Setup {
    store(&setup).save(&token_of(100)).unwrap();
    setup
}

/// A cloud, and such a device.
async fn scene() -> (Cloud, Setup, PathBuf) {
    let cloud = cloud().await;
    let setup = with_late_token(Setup::new(cloud.address));
    let file = setup.folder.path().join("provision.toml");
    let setup = setup.line("provision_file", file.to_str().unwrap());
    (cloud, setup, file)
}

#[tokio::test]
async fn a_late_token_stays_on_disk_and_is_tried_after_each_start() {
    let (_cloud, setup, _) = scene().await;
    let token = store(&setup).load().unwrap();
    for kills in [true, false] {
        let mut service = setup.start();
        service.logs(REFUSED).await;
        service.logs("token late: login or operator needed").await;
        service.logs(REFUSED).await;
        service.logs(REFUSED).await;
        assert_eq!(store(&setup).load().unwrap(), token);
        if kills {
            service.kill().await;
        } else {
            let log = service.terminate().await;
            assert!(!log.contains("unregistered"), "{log}");
            assert_eq!(log.matches("token late").count(), 1, "{log}");
        }
    }
    assert_eq!(store(&setup).load().unwrap(), token);
}

#[tokio::test]
async fn a_rejected_provisioning_file_does_not_cost_a_late_token() {
    let (mut cloud, setup, file) = scene().await;
    let token = store(&setup).load().unwrap();
    let mut service = setup.start();
    service.logs(REFUSED).await;
    write(&file, credentials().replace(PASSWORD, "a-typing-mistake"), 0o600);
    service.logs("rejected and renamed").await;
    service.logs(REFUSED).await;
    assert_eq!(store(&setup).load().unwrap(), token);
    // It is still looked for, as without a token.
    write(&file, credentials(), 0o600);
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.logs("used and removed").await;
    assert_ne!(store(&setup).load().unwrap(), token);
}

#[tokio::test]
async fn a_cloud_that_says_late_is_not_unreachable() {
    let (_cloud, setup, _) = scene().await;
    let setup = setup.line("unreachable_action", "/bin/true").line("unreachable_after", "1s");
    let mut service = setup.start();
    service.logs(REFUSED).await;
    service.does_not_log("running unreachable_action", Duration::from_secs(3)).await;
    assert!(fs::exists(setup.data().join("token")).unwrap());
}

/// For four weeks after its end a token is still good: a device in a box for 29 days, or one whose data partition
/// could not take the token of the last renewals before the power failed.
#[tokio::test]
async fn a_token_of_29_or_40_days_ago_is_taken_and_replaced() {
    let mut cloud = cloud().await;
    for days in [29, 40] {
        let setup = Setup::new(cloud.address);
        let token = token_of(days);
        store(&setup).save(&token).unwrap();
        let service = setup.start();
        assert_eq!(connected(&mut cloud).await, By::Token);
        until(async || store(&setup).load().unwrap().filter(|now| *now != token)).await;
        let log = service.terminate().await;
        assert!(!log.contains("token late") && !log.contains("unregistered"), "{log}");
    }
}

#[tokio::test]
async fn a_cloud_100_days_ahead_and_back_needs_no_login() {
    let source = ManualClock::default();
    source.set(unix_now(), true);
    let options = CloudOptions { clock: Clock::new(source.clone(), 0), ..CloudOptions::default() };
    let mut cloud: Cloud = options.start(Recorder).await;
    let setup = Setup::new(cloud.address).with_credentials();
    setup.run(&mut cloud, By::Credentials, "used and removed").await;
    let token = store(&setup).load().unwrap();

    source.set(unix_now() + 100 * DAY, false);
    let mut service = setup.start();
    for _ in 0..3 {
        service.logs(REFUSED).await;
    }
    service.kill().await;
    let mut service = setup.start();
    service.logs(REFUSED).await;
    source.set(unix_now(), true);
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    service.logs(" connected").await;
    let log = service.terminate().await;
    assert!(!log.contains("unregistered") && !log.contains("logging in"), "{log}");
    assert_eq!(store(&setup).load().unwrap(), token);
}
