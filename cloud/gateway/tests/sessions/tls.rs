//! Sessions over TLS.

use std::sync::Arc;

use fedecks_cloud::session::Disconnected;
use fedecks_protocol::{AUTH_HEADER, CloseCode, CloseReason, Term};
use fedecks_testing::certificates::{Certificate, client_config};
use fedecks_testing::cloud::CloudOptions;
use fedecks_testing::raw_device::{RawDevice, SUBPROTOCOL, auth_header, fresh_token};
use fedecks_testing::wait::within;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Cloud, CloudExt, Obedient, assert_echo, assert_echo_in_order, by_cloud, id};

async fn cloud() -> (Cloud, TlsConnector) {
    let certificate = Certificate::self_signed("localhost");
    let connector = Arc::new(client_config([&certificate.der])).into();
    let options = CloudOptions { tls: Some(certificate.tls()), ..CloudOptions::default() };
    (options.start(Obedient).await, connector)
}

async fn connect(
    cloud: &Cloud,
    connector: &TlsConnector,
    id: &str,
) -> RawDevice<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(cloud.address).await.unwrap();
    let stream = within(connector.connect("localhost".try_into().unwrap(), tcp)).await.unwrap();
    let header = auth_header(id, fresh_token(id));
    let mut device =
        RawDevice::upgrade(stream, &[(AUTH_HEADER, &header), SUBPROTOCOL]).await.unwrap();
    device.welcome().await;
    device
}

#[tokio::test]
async fn messages_of_every_size_go_both_ways() {
    let (cloud, connector) = cloud().await;
    let mut device = connect(&cloud, &connector, "a").await;
    // Around the size of a TLS record, and many records.
    for size in [0, 1, 16_383, 16_384, 16_385, 100_000, 1_000_000] {
        let term = Term::from("x".repeat(size));
        assert_echo(&mut device, term.clone()).await;
        cloud.hub.send(&id("a"), &term).await.unwrap();
        assert_eq!(device.receive().await, term, "{size}");
    }
    device.ping().await;
}

#[tokio::test]
async fn many_messages_at_once_are_all_answered_in_order() {
    let (cloud, connector) = cloud().await;
    let mut device = connect(&cloud, &connector, "a").await;
    assert_echo_in_order(&mut device, 500).await;
}

#[tokio::test]
async fn either_end_closes_with_its_reason() {
    let (mut cloud, connector) = cloud().await;
    let mut device = connect(&cloud, &connector, "a").await;
    device.ws.close(None).await.unwrap();
    device.ended().await;
    let reason = CloseReason::new(CloseCode::Other(1005));
    cloud.assert_end("a", "", Disconnected::ByDevice(reason)).await;

    let mut device = connect(&cloud, &connector, "b").await;
    let reason = CloseReason::new(CloseCode::Revoked);
    assert!(cloud.hub.disconnect(&id("b"), reason).await.unwrap());
    assert_eq!(device.closed().await, reason);
    device.ended().await;
    cloud.assert_end("b", "", by_cloud(CloseCode::Revoked)).await;
}

#[tokio::test]
async fn a_connection_that_breaks_without_a_close_is_noticed() {
    let (mut cloud, connector) = cloud().await;
    drop(connect(&cloud, &connector, "a").await);
    cloud.assert_end("a", "the connection was lost: ", Disconnected::ByError).await;
}
