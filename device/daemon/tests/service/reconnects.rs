//! Reconnects after the service or the cloud restarts.

use crate::support::fedecksd::{Setup, is_anywhere_in};
use crate::support::{By, PASSWORD, Seen, cloud, cloud_at};

#[tokio::test]
async fn after_a_kill_it_reconnects_by_token_and_no_password_is_on_disk() {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials();
    let mut service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.logs("used and removed").await;
    assert!(!is_anywhere_in(setup.folder.path(), PASSWORD));
    service.kill().await;
    let mut service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));

    let address = cloud.stop().await;
    service.logs("connection lost").await;
    let mut cloud = cloud_at(address).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
}
