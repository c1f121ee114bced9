//! Messages in both directions.

use fedecks_cloud::auth::AuthenticatedBy;
use fedecks_cloud::messaging::{DeliverError, SendError};
use fedecks_cloud::session::Disconnected;
use fedecks_cloud::store::unix_now;
use fedecks_cloud::{Fedecks, Options};
use fedecks_protocol::{
    Capabilities, CloseCode, CloseReason, DEFAULT_PATH, DownFrame, RequestFrame, RequestId, Term,
    UpFrame,
};
use fedecks_testing::cloud::{CloudOptions, published};
use fedecks_testing::raw_device::{RawDevice, fresh_token};
use fedecks_testing::wait::within;
use futures_util::SinkExt;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use warp::Filter;

use crate::support::{
    Called, CloudExt, Obedient, assert_echo, assert_echo_in_order, id, start, with,
};

#[tokio::test]
async fn welcome_is_the_first_frame_and_contains_the_options() {
    let options = Options::default().with(|it| it.max_frame = 5000);
    let cloud = with(options.clone()).await;
    let mut device = RawDevice::dial(cloud.address, "a", fresh_token("a")).await.unwrap();
    let welcome = device.welcome().await;
    assert_echo(&mut device, "hello").await;
    assert_eq!(welcome.heartbeat, options.heartbeat);
    assert_eq!(welcome.idle_timeout, options.idle_timeout);
    assert_eq!(welcome.max_frame, 5000);
    let seconds = welcome.server_time_ms / 1000;
    assert!(unix_now().abs_diff(seconds) <= 2, "{seconds}");
}

#[tokio::test]
async fn the_handler_learns_of_every_connection_and_its_end() {
    let mut cloud = start().await;
    let mut device = RawDevice::login(cloud.address, "a").await;
    let by = AuthenticatedBy::Credentials;
    assert_eq!(cloud.next().await, Called::Connected("a".into(), by));
    device.say("quiet").await;
    assert_eq!(cloud.next().await, Called::In("a".into(), "quiet".into()));
    within(device.ws.close(None)).await.unwrap();
    device.ended().await;
    let reason = CloseReason::new(CloseCode::Other(1005));
    cloud.assert_end("a", "", Disconnected::ByDevice(reason)).await;
    assert_eq!(cloud.hub.stats().connected, 0);

    let _device = cloud.connect("a").await;
    let Called::Connected(_, by) = cloud.next().await else { panic!("not connected") };
    assert!(matches!(by, AuthenticatedBy::Token { .. }), "{by:?}");
}

#[tokio::test]
async fn terms_and_bytes_go_both_ways() {
    let cloud = start().await;
    let mut device = cloud.connect("a").await;
    let term = Term::Tuple(vec!["hello".into(), Term::List(vec![1.into(), Term::Nil])]);
    assert_echo(&mut device, term.clone()).await;
    device.send(&UpFrame::Raw { sequence: None, bytes: vec![1, 2, 3] }).await;
    let raw = DownFrame::Raw { sequence: None, bytes: vec![3, 2, 1] };
    assert_eq!(device.frame().await, raw);

    cloud.hub.send(&id("a"), "pushed").await.unwrap();
    assert_eq!(device.receive().await, Term::from("pushed"));
    cloud.hub.send_raw(&id("a"), vec![7, 8]).await.unwrap();
    assert_eq!(device.frame().await, DownFrame::Raw { sequence: None, bytes: vec![7, 8] });
}

#[tokio::test]
async fn big_messages_and_many_small_ones_arrive_in_order() {
    let cloud = start().await;
    let mut device = cloud.connect("a").await;
    let big = Term::Bytes((0..1_000_000).map(|i| i as u8).collect());
    assert_echo(&mut device, big.clone()).await;
    assert_echo_in_order(&mut device, 1000).await;
}

#[tokio::test]
async fn a_message_that_is_not_sent_is_an_error() {
    let cloud = with(Options::default().with(|it| it.max_frame = 2000)).await;
    let error = cloud.hub.send(&id("a"), "hello").await.unwrap_err();
    assert_eq!(error, SendError::Deliver(DeliverError::NotConnected));

    let mut device = cloud.connect("a").await;
    let error = cloud.hub.send(&id("a"), &"x".repeat(3000)).await.unwrap_err();
    assert!(matches!(error, SendError::Deliver(DeliverError::Encode(_))), "{error}");
    let error = cloud.hub.send_raw(&id("a"), vec![0; 3000]).await.unwrap_err();
    assert!(matches!(error, DeliverError::Encode(_)), "{error}");
    cloud.hub.send(&id("a"), "small").await.unwrap();
    assert_eq!(device.receive().await, Term::from("small"));
}

#[tokio::test]
async fn published_messages_reach_the_sessions_of_the_topic() {
    let cloud = start().await;
    let mut program = cloud.hub.subscribe("all");
    let (mut a, mut b) = (cloud.connect("a").await, cloud.connect("b").await);
    // The answers prove that both are connected, and therefore subscribed.
    for device in [&mut a, &mut b] {
        assert_echo(device, "ready?").await;
    }
    cloud.hub.publish("downstream.b", &Term::from("for b")).await.unwrap();
    cloud.hub.publish("all", &Term::from("not for the device")).await.unwrap();
    cloud.hub.publish("all", &Term::from("for all")).await.unwrap();
    assert_eq!(b.receive().await, Term::from("for b"));
    assert_eq!(b.receive().await, Term::from("for all"));
    assert_eq!(a.receive().await, Term::from("for all"));
    for expected in ["not for the device", "for all"] {
        let info = published(&mut program).await;
        assert_eq!((info.topic.as_str(), &*info.message), ("all", &Term::from(expected)));
    }

    a.say("leave").await;
    assert_eq!(a.receive().await, Term::from("left"));
    cloud.hub.publish("all", &Term::from("again")).await.unwrap();
    cloud.hub.publish("downstream.a", &Term::from("raw")).await.unwrap();
    assert_eq!(b.receive().await, Term::from("again"));
    assert_eq!(a.frame().await, DownFrame::Raw { sequence: None, bytes: b"raw".to_vec() });
}

#[tokio::test]
async fn meaningless_frames_and_oversized_outcomes_are_dropped() {
    let cloud = start().await;
    let mut device = cloud.connect("a").await;
    within(device.ws.send(Message::text("text"))).await.unwrap();
    device.send(&UpFrame::Hello(Capabilities(u64::MAX))).await;
    device.send(&UpFrame::Request(RequestFrame::Cancel { request: RequestId(1) })).await;
    device.send_bytes(vec![0x7f, 1, 2, 3]).await;
    let undecodable = [
        vec![],
        vec![0x01],
        vec![0x01, 0x00, 0x05, 0xff],
        vec![0x01, 0x00, 0x08, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        [vec![0x01, 0x00], [0x08, 0x01].repeat(200)].concat(),
        vec![0x01, 0x00, 0x00, 0x00],
        // 600,000 nulls, which take 19 MB in memory.
        [&[0x01, 0x00, 0x08, 0xfc, 0xc0, 0x27, 0x09, 0x00], &[0; 600_000][..]].concat(),
    ];
    let count = undecodable.len() as u64;
    for bytes in undecodable {
        device.send_bytes(bytes).await;
    }
    device.say("too much").await;
    assert_echo(&mut device, "still there").await;
    assert_eq!(cloud.hub.stats().undecodable, count);
}

#[tokio::test]
async fn the_filter_works_below_a_path_and_behind_another_accept_loop() {
    let ours = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let path = DEFAULT_PATH.trim_start_matches("/fedecks").to_owned();
    let options = Options::default().with(|it| it.path = path);
    let behind_warp = |fedecks: &Fedecks<Obedient>| {
        let mounted = warp::path("fedecks").and(fedecks.routes());
        tokio::spawn(warp::serve(mounted).incoming(listener).run());
        (address, None)
    };
    let options = CloudOptions { options, ..CloudOptions::default() };
    let other = options.start_by(Obedient, behind_warp).await;
    for (cloud, knows_peer) in [(&ours, true), (&other, false)] {
        let mut device = RawDevice::login(cloud.address, "a").await;
        device.say("peer?").await;
        assert_eq!(device.receive().await, Term::from(knows_peer));
        let big = Term::Bytes(vec![7; 500_000]);
        assert_echo(&mut device, big.clone()).await;
    }
}
