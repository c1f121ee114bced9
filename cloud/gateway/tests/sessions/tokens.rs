use std::time::Duration;

use fedecks_cloud::Options;
use fedecks_cloud::store::Actor;
use fedecks_protocol::{DownFrame, IssuedToken, Proof, Term, UpFrame};

use crate::support::{Cloud, Device, credentials, id, keyring, now, token};

async fn issued(device: &mut Device) -> IssuedToken {
    match device.frame().await {
        DownFrame::Token(issued) => issued,
        other => panic!("expected a token: {other:?}"),
    }
}

#[tokio::test]
async fn a_login_is_answered_with_a_token_that_connects() {
    let cloud = Cloud::start().await;
    let mut device = Device::dial(&cloud, "a", credentials("marvin")).await.unwrap();
    device.welcome().await;
    let issued = issued(&mut device).await;
    let four_weeks = 4 * 7 * 24 * 3600;
    assert!((now() + four_weeks).abs_diff(issued.expires_at) <= 2, "{}", issued.expires_at);
    let claims = keyring().open(&issued.token).unwrap();
    assert_eq!((claims.device, claims.generation), (id("a"), 0));
    let mut again = Device::dial(&cloud, "a", Proof::Token(issued.token)).await.unwrap();
    again.welcome().await;
    again.say("no token comes before this").await;
    assert_eq!(again.hears().await, Term::from("no token comes before this"));
}

#[tokio::test]
async fn a_token_older_than_the_refresh_period_is_renewed_at_once() {
    let cloud = Cloud::start().await;
    let old = token("a", now() - 4 * 3600, now() + 100, 3);
    let mut device = Device::dial(&cloud, "a", Proof::Token(old)).await.unwrap();
    device.welcome().await;
    let claims = keyring().open(&issued(&mut device).await.token).unwrap();
    assert_eq!(claims.generation, 3);
}

#[tokio::test]
async fn a_connected_device_gets_a_token_every_refresh_period() {
    let refresh = Duration::from_millis(200);
    let cloud = Cloud::with(Options { token_refresh: refresh, ..Options::default() }).await;
    let mut device = Device::dial(&cloud, "a", credentials("marvin")).await.unwrap();
    device.welcome().await;
    issued(&mut device).await;
    let start = std::time::Instant::now();
    for _ in 0..3 {
        issued(&mut device).await;
    }
    assert!(start.elapsed() >= refresh * 3 - Duration::from_millis(50), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_device_that_asks_gets_a_token_and_one_that_asks_at_once_again_does_not() {
    let cloud = Cloud::start().await;
    let mut device = cloud.connect("a").await;
    for _ in 0..100 {
        device.send(&UpFrame::TokenPlease).await;
    }
    device.say("done").await;
    let issued = issued(&mut device).await;
    assert_eq!(keyring().open(&issued.token).unwrap().device, id("a"));
    let mut more = 0;
    loop {
        match device.frame().await {
            DownFrame::Token(_) => more += 1,
            DownFrame::Message { term, .. } if term == Term::from("done") => break,
            other => panic!("{other:?}"),
        }
    }
    // One more if the hundred took longer than a second.
    assert!(more <= 1, "{more} more tokens");
}

#[tokio::test]
async fn revoking_closes_the_session_and_makes_its_tokens_worthless() {
    let cloud = Cloud::start().await;
    let mut device = Device::dial(&cloud, "a", credentials("marvin")).await.unwrap();
    device.welcome().await;
    let token = issued(&mut device).await.token;
    let mut other = cloud.connect("b").await;

    cloud.denylist.revoke(&id("a"), &Actor::cli()).await.unwrap();
    assert_eq!(device.closed().await.code, fedecks_protocol::CloseCode::Revoked);
    let refused = Device::dial(&cloud, "a", Proof::Token(token)).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("token-revoked"));
    let mut again = Device::dial(&cloud, "a", credentials("marvin")).await.unwrap();
    again.welcome().await;
    let generation = keyring().open(&issued(&mut again).await.token).unwrap().generation;
    assert_eq!(generation, cloud.denylist.generation(&id("a")));
    assert!(generation > 0);

    other.say("untouched").await;
    assert_eq!(other.hears().await, Term::from("untouched"));
}

#[tokio::test]
async fn blocking_closes_the_session_and_unblocking_lets_the_same_token_in_again() {
    let cloud = Cloud::start().await;
    let mut device = Device::dial(&cloud, "a", credentials("marvin")).await.unwrap();
    device.welcome().await;
    let token = issued(&mut device).await.token;
    let mut other = cloud.connect("b").await;

    cloud.denylist.block(&id("a"), &Actor::cli()).await.unwrap();
    assert_eq!(device.closed().await.code, fedecks_protocol::CloseCode::Blocked);
    let refused = Device::dial(&cloud, "a", Proof::Token(token.clone())).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("blocked"));

    cloud.denylist.unblock(&id("a"), &Actor::cli()).await.unwrap();
    let mut again = Device::dial(&cloud, "a", Proof::Token(token)).await.unwrap();
    again.welcome().await;
    other.say("untouched").await;
    assert_eq!(other.hears().await, Term::from("untouched"));
}
