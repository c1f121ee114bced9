//! Devices that send WebSocket fragments without content, and messages that never end.

use fedecks_protocol::Limits;
use fedecks_testing::raw_device::RawDevice;
use futures_util::SinkExt;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::server::{DEVICE, Victim};
use crate::error::Result;

/// Fragments that are sent in one write.
const FRAGMENTS: usize = 10_000;

/// Devices that each begin a message and do not end it.
const DEVICES: usize = 1_000;

/// One device begins a message and continues it with fragments of no bytes.
pub(super) async fn empty(victim: Victim) -> Result<()> {
    // Not the last fragment, a continuation, no bytes, masked with zeros.
    let fragments = [0x00, 0x80, 0, 0, 0, 0].repeat(FRAGMENTS);
    loop {
        let mut device = RawDevice::connect(victim.address, DEVICE).await;
        let begin = Frame::message(Vec::new(), OpCode::Data(Data::Binary), false);
        if device.ws.send(Message::Frame(begin)).await.is_err() {
            continue;
        }
        while device.ws.get_mut().write_all(&fragments).await.is_ok() {}
    }
}

/// A thousand devices each send a message of the biggest size, except for its end.
pub(super) async fn unfinished(victim: Victim) -> Result<()> {
    let mut devices = JoinSet::new();
    let content = vec![0; Limits::default().max_size - 1024];
    for number in 0..DEVICES {
        let mut device = RawDevice::connect(victim.address, &format!("attacked-{number}")).await;
        let begin = Frame::message(content.clone(), OpCode::Data(Data::Binary), false);
        devices.spawn(async move {
            let _ = device.ws.send(Message::Frame(begin)).await;
            std::future::pending::<()>().await;
            drop(device);
        });
    }
    devices.join_all().await;
    Ok(())
}
