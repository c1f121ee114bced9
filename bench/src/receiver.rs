//! A device that takes the kept messages that wait for it in the cloud, and acknowledges them.

use fedecks_protocol::{
    Ack, Capabilities, DeliveryFrame, DownFrame, Kept, Lane, Resume, Tag, UpFrame,
};
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Result;

/// After this many messages, or when none are left, it acknowledges.
const BATCH: u64 = 32;

/// The most that a cloud sends before an acknowledgement.
const CREDIT: (u64, u64) = (64, 256 * 1024);

/// A device with the streams that the cloud has announced.
pub(crate) struct Receiver {
    client: Client,
    streams: Vec<Stream>,
    /// Bytes of WebSocket frames for messages, and for acknowledgements.
    pub(crate) down: usize,
    pub(crate) up: usize,
}

struct Stream {
    lane: Lane,
    handle: u64,
    taken: u64,
    acknowledged: u64,
    newest: u64,
}

impl Receiver {
    /// Says that it takes kept messages.
    pub(crate) async fn open(mut client: Client) -> Result<Self> {
        client.tell(&UpFrame::Hello(Capabilities::KEPT_MESSAGES)).await?;
        Ok(Self { client, streams: Vec::new(), down: 0, up: 0 })
    }

    /// Takes this many messages of any lane, and returns when the first one came and the last one was acknowledged.
    pub(crate) async fn take(&mut self, count: u64) -> Result<(Instant, Instant)> {
        let mut first = None;
        for left in (0..count).rev() {
            self.next(left == 0).await?;
            first.get_or_insert_with(Instant::now);
        }
        let now = Instant::now();
        Ok((first.unwrap_or(now), now))
    }

    /// Takes the next message. Acknowledges it with the following ones, unless it `is_last`.
    async fn next(&mut self, is_last: bool) -> Result<()> {
        loop {
            let (frame, length) = self.client.hear_in_time().await?;
            match frame {
                DownFrame::Delivery(DeliveryFrame::Resume(resume)) => self.resume(&resume).await?,
                DownFrame::Delivery(DeliveryFrame::Kept(kept)) => {
                    self.down += websocket_frame(length);
                    return self.on_kept(&kept, is_last).await;
                }
                DownFrame::Alive(_) => {}
                other => return Err(format!("expected a kept message, got {other:?}").into()),
            }
        }
    }

    async fn resume(&mut self, resume: &Resume) -> Result<()> {
        let Resume { lane, handle, oldest, newest, .. } = *resume;
        let taken = oldest - 1;
        self.streams.retain(|stream| stream.lane != lane);
        self.streams.push(Stream { lane, handle, taken, acknowledged: taken, newest });
        self.acknowledge(handle, taken, Tag(0)).await
    }

    async fn on_kept(&mut self, kept: &Kept, is_last: bool) -> Result<()> {
        let stream = self.streams.iter_mut().find(|stream| stream.handle == kept.handle);
        let stream = stream.ok_or("a message of a stream that was not announced")?;
        if kept.sequence != stream.taken + 1 || kept.redelivered {
            return Err(format!("expected {} for the first time", stream.taken + 1).into());
        }
        stream.taken += 1;
        stream.newest = stream.newest.max(stream.taken);
        if is_last || stream.taken == stream.newest || stream.taken - stream.acknowledged >= BATCH {
            stream.acknowledged = stream.taken;
            self.acknowledge(kept.handle, kept.sequence, kept.tag).await?;
        }
        Ok(())
    }

    async fn acknowledge(&mut self, handle: u64, up_to: u64, tag: Tag) -> Result<()> {
        let (credit_to, credit_bytes) = (up_to + CREDIT.0, CREDIT.1);
        let ack = Ack { handle, up_to, tag, credit_to, credit_bytes, rejected: Vec::new() };
        let length = self.client.tell(&UpFrame::Delivery(DeliveryFrame::Ack(ack))).await?;
        // With the mask.
        self.up += websocket_frame(length) + 4;
        Ok(())
    }
}

/// The length of an unmasked WebSocket frame with this much content.
pub(crate) fn websocket_frame(length: usize) -> usize {
    length + if length < 126 { 2 } else { 4 }
}
