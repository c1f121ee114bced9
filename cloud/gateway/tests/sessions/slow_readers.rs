//! Devices that read what is sent to them, but too slowly for others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fedecks_cloud::Options;
use fedecks_cloud::session::Disconnected;
use fedecks_protocol::{AUTH_HEADER, Term};
use fedecks_testing::raw_device::{RawDevice, SUBPROTOCOL, auth_header, fresh_token};
use fedecks_testing::wait::within;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{CloudExt, id, with};

/// A device whose kernel keeps little of what it does not read.
pub(crate) async fn connect_narrow(address: SocketAddr, id: &str) -> RawDevice {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let header = auth_header(id, fresh_token(id));
    let headers = [(AUTH_HEADER, &*header), SUBPROTOCOL];
    let mut device = RawDevice::upgrade(stream, &headers).await.unwrap();
    device.welcome().await;
    device
}

#[tokio::test]
async fn a_device_that_reads_a_little_does_not_hold_memory_for_ever() {
    let mut cloud = with(Options::default().with(|it| {
        it.max_frame = 64 << 10;
        it.queue_messages = 1_000_000;
        it.queue_bytes = 64 << 20;
        it.queued_bytes = 256 << 10;
        it.heartbeat = Duration::from_secs(1);
        it.idle_timeout = Duration::from_secs(2);
    }))
    .await;
    let mut slow = connect_narrow(cloud.address, "slow").await;
    let mut healthy = cloud.connect("healthy").await;
    let big = Term::Bytes(vec![7; 60_000]);
    // In rounds, so that what the slow one has read is filled up again before the other is sent anything.
    let rounds = async {
        let begun = Instant::now();
        let mut read = begun;
        loop {
            while cloud.hub.send(&id("slow"), &Term::Bytes(vec![7; 1000])).await.is_ok() {}
            let sent = cloud.hub.send(&id("healthy"), &big).await;
            if sent.is_ok() && begun.elapsed() > Duration::from_secs(1) {
                return;
            }
            // It reads something, 20 KB per second, and is not silent.
            if read.elapsed() > Duration::from_millis(50) {
                read = Instant::now();
                let next = tokio::time::timeout(Duration::from_millis(10), slow.ws.next()).await;
                if matches!(next, Ok(Some(Ok(_)))) {
                    let _ = slow.ws.send(Message::Ping("here".into())).await;
                }
            }
            let next = tokio::time::timeout(Duration::from_millis(20), healthy.ws.next()).await;
            assert!(!matches!(next, Ok(None | Some(Err(_)))), "{next:?}");
            healthy.ws.send(Message::Ping("here".into())).await.unwrap();
        }
    };
    // Without an end it would last forever.
    within(rounds).await;
    cloud.assert_end("slow", "the device reads too slowly", Disconnected::ByError).await;
}
