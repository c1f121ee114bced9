use crate::support::cloud::{By, Cloud, PASSWORD, Seen};
use crate::support::fedecksd::{Setup, is_anywhere_in};

#[tokio::test]
async fn killed_and_started_again_it_is_back_by_token_and_the_password_is_on_no_disk() {
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let setup = Setup::new(&format!("ws://{}", cloud.address)).with_credentials();
    let mut service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.says("used and removed").await;
    assert!(!is_anywhere_in(setup.folder.path(), PASSWORD));
    service.kill().await;
    let mut service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));

    let address = cloud.stop().await;
    service.says("connection lost").await;
    let mut cloud = Cloud::start(address).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
}
