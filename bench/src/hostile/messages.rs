//! A device whose messages become many times as big as JSON, and a webhook that never answers.

use fedecks_protocol::{Dialect, Limits, Term, UpFrame};
use fedecks_testing::raw_device::RawDevice;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use super::server::{DEVICE, Victim};
use crate::error::Result;

/// How much less than the largest frame a message has, in bytes: its header.
const HEADER: usize = 64;

/// The configuration of a webhook whose receiver accepts connections, reads, and never answers.
pub(super) async fn silent_webhook() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(tokio::spawn(async move {
                let (mut read, _write) = connection.into_split();
                let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
            }));
        }
    });
    // 32 random bytes in base64, as `openssl rand -base64 32` prints them.
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    Ok(format!(
        "[[webhook]]\nname = \"silent\"\nurl = \"http://{address}/\"\nsecret = {secret:?}\n"
    ))
}

/// Texts of control characters, each of which takes one byte on the wire and six in JSON.
pub(super) async fn control_characters(victim: Victim) -> Result<()> {
    let text = "\u{1}".repeat(Limits::default().max_size - HEADER);
    let frame = UpFrame::Message { sequence: None, term: Term::Str(text) };
    let frame = Message::binary(Dialect::Bincode.encode_up(&frame, &Limits::default())?);
    loop {
        let device = RawDevice::connect(victim.address, DEVICE).await;
        let (mut to, mut from) = device.ws.split();
        let read = async { while let Some(Ok(_)) = from.next().await {} };
        let write = async { while to.send(frame.clone()).await.is_ok() {} };
        tokio::select! {
            () = read => {}
            () = write => {}
        }
    }
}
