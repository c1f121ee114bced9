//! Tokens: issued, renewed, revoked and blocked.

use std::time::Duration;

use fedecks_cloud::store::Actor;
use fedecks_cloud::store::unix_now;
use fedecks_cloud::{Listen, Options, serve};
use fedecks_protocol::{CloseCode, DownFrame, IssuedToken, Proof, Term, UpFrame};
use fedecks_testing::USER;
use fedecks_testing::cloud::{CloudOptions, keyring};
use fedecks_testing::raw_device::{RawDevice, fresh_token, token};

use crate::support::{Cloud, CloudExt, Obedient, assert_echo, credentials, id, start, with};

/// Connects and takes the Welcome.
async fn dial(cloud: &Cloud, proof: Proof) -> RawDevice {
    let mut device = RawDevice::dial(cloud.address, "a", proof).await.unwrap();
    device.welcome().await;
    device
}

async fn issued(device: &mut RawDevice) -> IssuedToken {
    let frame = device.frame().await;
    let DownFrame::Token(issued) = frame else { panic!("expected a token: {frame:?}") };
    issued
}

#[tokio::test]
async fn a_login_is_answered_with_a_token_that_connects() {
    let cloud = start().await;
    let mut device = dial(&cloud, credentials(USER)).await;
    let issued = issued(&mut device).await;
    let four_weeks = 4 * 7 * 24 * 3600;
    assert!((unix_now() + four_weeks).abs_diff(issued.expires_at) <= 2, "{}", issued.expires_at);
    let claims = keyring().open(&issued.token).unwrap();
    assert_eq!((claims.device, claims.generation), (id("a"), 0));
    let mut again = dial(&cloud, Proof::Token(issued.token)).await;
    assert_echo(&mut again, "no token comes before this").await;
}

#[tokio::test]
async fn tokens_are_judged_alike_by_the_filter_alone() {
    let filter_alone = CloudOptions::default().start_by(Obedient, |fedecks| {
        let server = serve(fedecks.routes(), Listen::plain(([127, 0, 0, 1], 0).into())).unwrap();
        (server.addresses()[0], Some(server))
    });
    for cloud in [start().await, filter_alone.await] {
        let mut device = dial(&cloud, fresh_token("a")).await;
        assert_echo(&mut device, "connected").await;
        cloud.denylist.revoke(&id("b"), &Actor::cli()).await.unwrap();
        for (id, reason) in [("b", "token-revoked"), ("c", "wrong-device")] {
            let proof = fresh_token(if id == "c" { "a" } else { id });
            let refused = RawDevice::dial(cloud.address, id, proof).await.expect_err("a refusal");
            assert_eq!(refused.reason.as_deref(), Some(reason));
        }
    }
}

#[tokio::test]
async fn a_token_older_than_the_refresh_period_is_renewed_at_once() {
    let cloud = start().await;
    let old = token("a", unix_now() - 4 * 3600, unix_now() + 100, 3);
    let mut device = dial(&cloud, Proof::Token(old)).await;
    let claims = keyring().open(&issued(&mut device).await.token).unwrap();
    assert_eq!(claims.generation, 3);
}

#[tokio::test]
async fn a_connected_device_gets_a_token_every_refresh_period() {
    let refresh = Duration::from_millis(200);
    let cloud = with(Options::default().with(|it| it.token_refresh = refresh)).await;
    let mut device = dial(&cloud, credentials(USER)).await;
    issued(&mut device).await;
    let start = std::time::Instant::now();
    for _ in 0..3 {
        issued(&mut device).await;
    }
    assert!(start.elapsed() >= refresh * 3 - Duration::from_millis(50), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_token_is_issued_on_request_once_per_second() {
    let cloud = start().await;
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
async fn revoking_and_blocking_close_the_session_and_refuse_its_token() {
    for (reason, code) in [("token-revoked", CloseCode::Revoked), ("blocked", CloseCode::Blocked)] {
        let cloud = start().await;
        let mut device = dial(&cloud, credentials(USER)).await;
        let token = issued(&mut device).await.token;
        let mut other = cloud.connect("b").await;

        if code == CloseCode::Revoked {
            cloud.denylist.revoke(&id("a"), &Actor::cli()).await.unwrap();
        } else {
            cloud.denylist.block(&id("a"), &Actor::cli()).await.unwrap();
        }
        assert_eq!(device.closed().await.code, code);
        let refused = RawDevice::dial(cloud.address, "a", Proof::Token(token.clone())).await;
        assert_eq!(refused.unwrap_err().reason.as_deref(), Some(reason));

        if code == CloseCode::Revoked {
            let mut again = dial(&cloud, credentials(USER)).await;
            let generation = keyring().open(&issued(&mut again).await.token).unwrap().generation;
            assert_eq!(generation, cloud.denylist.generation(&id("a")));
            assert!(generation > 0);
        } else {
            cloud.denylist.unblock(&id("a"), &Actor::cli()).await.unwrap();
            dial(&cloud, Proof::Token(token)).await;
        }
        assert_echo(&mut other, "untouched").await;
    }
}

const DAY: u64 = 24 * 3600;

#[tokio::test]
async fn a_token_late_by_less_than_the_grace_is_renewed_at_once() {
    let cloud = start().await;
    let now = unix_now();
    for (case, issued_at, expired_at) in [
        ("29 days in a box", now - 29 * DAY, now - DAY),
        ("the end of the grace", now - 57 * DAY, now - 28 * DAY + 60),
        // Younger than the refresh period.
        ("a short life", now - 60, now - 10),
    ] {
        let late = Proof::Token(token("a", issued_at, expired_at, 0));
        let refused = |error: fedecks_testing::raw_device::Refused| panic!("{case}: {error:?}");
        let mut device = RawDevice::dial(cloud.address, "a", late).await.unwrap_or_else(refused);
        device.welcome().await;
        let renewed = issued(&mut device).await;
        assert!(renewed.expires_at >= now + 28 * DAY, "{case}");
        let mut again = dial(&cloud, Proof::Token(renewed.token)).await;
        assert_echo(&mut again, "no token comes before this").await;
    }
    assert_eq!(cloud.hub.stats().late_tokens, 3);
}

#[tokio::test]
async fn a_token_later_than_the_grace_has_expired() {
    let refused = async |cloud: &Cloud, late: u64| {
        let now = unix_now();
        let token = token("a", now - 40 * DAY - late, now - late, 0);
        let refused = RawDevice::dial(cloud.address, "a", Proof::Token(token)).await.unwrap_err();
        (refused.status, refused.reason.unwrap())
    };
    let expired = (401, "token-expired".to_owned());
    assert_eq!(refused(&start().await, 28 * DAY).await, expired);
    let hour = Options::default().with(|it| it.token_grace = Duration::from_secs(3600));
    assert_eq!(refused(&with(hour).await, 3600).await, expired);
    let off = Options::default().with(|it| it.token_grace = Duration::ZERO);
    assert_eq!(refused(&with(off).await, 0).await, expired);
}

#[tokio::test]
async fn a_late_token_of_a_revoked_or_blocked_device_is_refused() {
    let cloud = start().await;
    let late = || Proof::Token(token("a", unix_now() - 29 * DAY, unix_now() - DAY, 0));
    cloud.denylist.block(&id("a"), &Actor::cli()).await.unwrap();
    let refused = RawDevice::dial(cloud.address, "a", late()).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("blocked"));
    cloud.denylist.unblock(&id("a"), &Actor::cli()).await.unwrap();
    dial(&cloud, late()).await;
    cloud.denylist.revoke(&id("a"), &Actor::cli()).await.unwrap();
    let refused = RawDevice::dial(cloud.address, "a", late()).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("token-revoked"));
}

#[tokio::test]
async fn a_token_from_the_future_is_good() {
    let cloud = start().await;
    let sealed = unix_now() + 40 * DAY;
    let mut device = dial(&cloud, Proof::Token(token("a", sealed, sealed + 28 * DAY, 0))).await;
    assert_echo(&mut device, "no token comes before this").await;
}
