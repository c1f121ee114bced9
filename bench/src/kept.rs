//! What a kept message costs the server program: one from a device, which it stores in its log and acknowledges, and
//! one that waits for a device in its store.

use std::path::Path;

use fedecks_protocol::{
    Ack, Capabilities, Content, DeliveryFrame, Dialect, DownFrame, Kept, Lane, Limits, Resume,
    StreamId, Tag, Term, UpFrame,
};
use fedecks_testing::cloud::keyring;
use fedecks_testing::cloud_process::CloudProcess;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client, Target};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::process::Usage;
use crate::receiver::{Receiver, websocket_frame};
use crate::report::Measurement;
use crate::server::Kind;
use crate::setting::Setting;
use crate::waiting::{Waiting, WaitingCloud};

/// Devices that send at the same time, as many as echo in the benchmark of messages that are not kept.
const SENDERS: usize = 50;

/// How many bytes a message has.
const PAYLOAD: usize = 100;

pub(crate) async fn measure(setting: &Setting<'_>, program: &Path) -> Result<Vec<Measurement>> {
    let mut measured = up(setting, program).await?;
    measured.extend(down(setting, program).await?);
    Ok(measured)
}

/// Sends kept messages from [`SENDERS`] devices, each as far as the server lets it, until all are acknowledged.
async fn up(setting: &Setting<'_>, program: &Path) -> Result<Vec<Measurement>> {
    let each = setting.options.kept_messages.div_ceil(SENDERS);
    let count = (each * SENDERS) as f64;
    let mut cpu_time = measurement("cpu_us_per_kept_message", "µs");
    let mut up = measurement("wire_bytes_up_per_kept_message", "B");
    let mut down = measurement("wire_bytes_down_per_kept_message", "B");
    let mut rate = measurement("stored_per_second", "1/s");
    for _ in 0..setting.options.repeats {
        let cloud = CloudProcess::start(program, "").await;
        let target = Target { kind: Kind::Fedecks, address: cloud.address, tls: None };
        let usage = Usage::of(cloud.pid())?;
        let fleet = Fleet::connect(&target, &keyring(), 0..SENDERS).await?;
        let mut senders = Vec::with_capacity(SENDERS);
        for client in fleet.0 {
            senders.push(Sender::open(client).await?);
        }
        let mut senders = send(senders, each.div_ceil(10)).await?;
        for sender in &mut senders {
            (sender.up, sender.down) = (0, 0);
        }
        let (cpu, began) = (usage.cpu()?, Instant::now());
        let senders = send(senders, each).await?;
        let took = began.elapsed();
        cpu_time.values.push((usage.cpu()? - cpu).as_secs_f64() * 1e6 / count);
        rate.values.push(count / took.as_secs_f64());
        up.values.push(senders.iter().map(|it| it.up).sum::<usize>() as f64 / count);
        down.values.push(senders.iter().map(|it| it.down).sum::<usize>() as f64 / count);
    }
    Ok(vec![cpu_time, up, down, rate])
}

/// Has devices take what waits for them, all at the same time, until all is acknowledged.
async fn down(setting: &Setting<'_>, program: &Path) -> Result<Vec<Measurement>> {
    let devices = setting.options.taking_devices;
    let each = setting.options.taken_messages.div_ceil(devices) as u64;
    let count = (each * devices as u64) as f64;
    let mut cpu_time = measurement("cpu_us_per_message_taken", "µs");
    let mut down = measurement("wire_bytes_down_per_message_taken", "B");
    let mut up = measurement("wire_bytes_up_per_message_taken", "B");
    let mut rate = measurement("taken_per_second", "1/s");
    for _ in 0..setting.options.repeats {
        let waiting = Waiting { devices: 0..devices, each, payload: PAYLOAD };
        let cloud = WaitingCloud::start(program, "", waiting).await?;
        let target = Target { kind: Kind::Fedecks, address: cloud.process.address, tls: None };
        let usage = Usage::of(cloud.process.pid())?;
        let fleet = Fleet::connect(&target, &keyring(), 0..devices).await?;
        let (cpu, began) = (usage.cpu()?, Instant::now());
        let mut running = JoinSet::new();
        for client in fleet.0 {
            running.spawn(async move {
                let mut receiver = Receiver::open(client).await?;
                receiver.take(each).await?;
                Ok::<_, Error>(receiver)
            });
        }
        let mut receivers = Vec::with_capacity(devices);
        while let Some(receiver) = running.join_next().await {
            receivers.push(receiver??);
        }
        cloud.until_delivered(count).await?;
        let took = began.elapsed();
        cpu_time.values.push((usage.cpu()? - cpu).as_secs_f64() * 1e6 / count);
        rate.values.push(count / took.as_secs_f64());
        down.values.push(receivers.iter().map(|it| it.down).sum::<usize>() as f64 / count);
        up.values.push(receivers.iter().map(|it| it.up).sum::<usize>() as f64 / count);
    }
    Ok(vec![cpu_time, down, up, rate])
}

fn measurement(metric: &'static str, unit: &'static str) -> Measurement {
    Measurement { bench: "kept", server: "fedecks-cloud serve", metric, unit, values: Vec::new() }
}

/// Has each sender send `each` messages, all at the same time.
async fn send(senders: Vec<Sender>, each: usize) -> Result<Vec<Sender>> {
    let mut running = JoinSet::new();
    for mut sender in senders {
        running.spawn(async move { sender.send(each).await.map(|()| sender) });
    }
    let mut done = Vec::with_capacity(SENDERS);
    while let Some(sender) = running.join_next().await {
        done.push(sender??);
    }
    Ok(done)
}

/// A device with one stream.
struct Sender {
    client: Client,
    /// The last number that was sent.
    sent: u64,
    acknowledged: Ack,
    /// Bytes of WebSocket frames since they were counted last.
    up: usize,
    down: usize,
}

const HANDLE: u64 = 1;

impl Sender {
    async fn open(mut client: Client) -> Result<Self> {
        client.tell(&UpFrame::Hello(Capabilities::KEPT_MESSAGES)).await?;
        let stream = StreamId(fastrand::u128(..).to_ne_bytes());
        let resume = Resume { handle: HANDLE, lane: Lane::Normal, stream, oldest: 1, newest: 0 };
        client.tell(&UpFrame::Delivery(DeliveryFrame::Resume(resume))).await?;
        let (acknowledged, _) = acknowledgement(&mut client).await?;
        Ok(Self { client, sent: 0, acknowledged, up: 0, down: 0 })
    }

    /// Sends as many messages, and waits until they are acknowledged.
    async fn send(&mut self, count: usize) -> Result<()> {
        let last = self.sent + count as u64;
        let term = Term::Bytes(vec![b'x'; PAYLOAD]);
        let content = Content::Term(Dialect::Bincode.keep_term(&term, &Limits::default())?);
        while self.acknowledged.up_to < last {
            while self.sent < last.min(self.acknowledged.credit_to) {
                self.sent += 1;
                let kept = Kept {
                    handle: HANDLE,
                    sequence: self.sent,
                    tag: Tag(fastrand::u64(1..)),
                    sent_at_ms: Some(1_800_000_000_000),
                    redelivered: false,
                    content: content.clone(),
                };
                // With the mask.
                let length =
                    self.client.tell(&UpFrame::Delivery(DeliveryFrame::Kept(kept))).await?;
                self.up += websocket_frame(length) + 4;
            }
            let (acknowledged, length) = acknowledgement(&mut self.client).await?;
            self.down += websocket_frame(length);
            self.acknowledged = acknowledged;
            if !self.acknowledged.rejected.is_empty() {
                return Err("a kept message was rejected".into());
            }
        }
        Ok(())
    }
}

/// The next acknowledgement and its length.
async fn acknowledgement(client: &mut Client) -> Result<(Ack, usize)> {
    loop {
        match client.hear().await? {
            (DownFrame::Delivery(DeliveryFrame::Ack(ack)), length) => return Ok((ack, length)),
            (DownFrame::Alive(_), _) => {}
            (other, _) => return Err(format!("expected an Ack, got {other:?}").into()),
        }
    }
}
