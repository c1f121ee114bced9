//! The latency of messages to readers of the event stream, and from the HTTP API to devices.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use fedecks_protocol::Term;
use fedecks_testing::cloud::keyring;
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::http::{Http, Response};
use fedecks_testing::wait::PATIENCE;
use http::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::client::{Client, Target};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::identity::{auth_header, device_id};
use crate::process::Usage;
use crate::report::Measurement;
use crate::server::Kind;
use crate::setting::Setting;

/// Readers of the server's events.
const SUBSCRIBERS: usize = 100;

/// Other connected devices.
const IDLE: usize = 1_000;

/// Messages per second.
const RATE: u32 = 50;

/// Messages before the measured ones, which bring everything to its usual state.
const WARM_UP: usize = 50;

/// How many bytes a message has.
const PAYLOAD: usize = 100;

/// How long the server may take to finish work that no client waits for.
const SETTLE: Duration = Duration::from_millis(300);

/// The latency of messages through the program `fedecks-cloud`: from a device to every reader of its
/// events, and from the HTTP API to a device.
pub(crate) async fn measure(setting: &Setting<'_>, program: &Path) -> Result<Vec<Measurement>> {
    let cloud = CloudProcess::start(program, "").await;
    let usage = Usage::of(cloud.pid())?;
    let token = cloud.token("bench", &["--role", "read", "--role", "send"]).await;
    let target = Target { kind: Kind::Fedecks, address: cloud.address, tls: None };
    let keyring = keyring();
    let mut idle = Fleet::connect(&target, &keyring, 1..1 + IDLE).await?;
    let mut device = Client::connect(&target, 0, &auth_header(&keyring, 0)?).await?;
    let api = cloud.http().token(&token).json();
    let mut subscribers = Subscribers::open(&api).await?;

    let messages = setting.options.live_messages;
    let mut results = Results::default();
    fan_out(&mut device, &mut subscribers, WARM_UP).await?;
    to_device(&mut device, &api, WARM_UP).await?;
    for _ in 0..setting.options.repeats {
        // Devices that are silent for a minute are dropped.
        idle.ping(setting.options.pings_per_second).await?;
        sleep(SETTLE).await;
        let cpu = usage.cpu()?;
        let took = fan_out(&mut device, &mut subscribers, messages).await?;
        let cpu = usage.cpu()? - cpu;
        results.add("fan-out", "cpu_us_per_event", micros(cpu, took.len()));
        results.latency("fan-out", took);
    }
    drop(subscribers);
    for _ in 0..setting.options.repeats {
        idle.ping(setting.options.pings_per_second).await?;
        device.ping().await?;
        sleep(SETTLE).await;
        let cpu = usage.cpu()?;
        let took = to_device(&mut device, &api, messages).await?;
        let cpu = usage.cpu()? - cpu;
        results.add("api-to-device", "cpu_us_per_message", micros(cpu, took.len()));
        results.latency("api-to-device", took);
    }
    idle.ping(setting.options.pings_per_second).await?;
    idle.close().await?;
    Ok(results.0)
}

/// Sends `messages` from the device, evenly in time, and returns the latency of each to each
/// subscriber.
async fn fan_out(
    device: &mut Client,
    subscribers: &mut Subscribers,
    messages: usize,
) -> Result<Vec<Duration>> {
    let mut due = ticks();
    let mut sent = HashMap::new();
    for _ in 0..messages {
        due.tick().await;
        let number = subscribers.next_number();
        sent.insert(number, Instant::now());
        device.say(text(number)).await?;
    }
    let mut took = Vec::with_capacity(messages * SUBSCRIBERS);
    while took.len() < messages * SUBSCRIBERS {
        let (number, at) = timeout(PATIENCE, subscribers.received.recv())
            .await
            .map_err(|_| "a subscriber did not receive a message in time")?
            .ok_or("no subscriber is left")??;
        let sent = sent.get(&number).ok_or("a subscriber received what was not sent")?;
        took.push(at - *sent);
    }
    Ok(took)
}

/// Sends `messages` to the device by the API, evenly in time, and returns the latency of each.
async fn to_device(device: &mut Client, api: &Http, messages: usize) -> Result<Vec<Duration>> {
    let mut due = ticks();
    let mut took = Vec::with_capacity(messages);
    for number in 0..messages {
        due.tick().await;
        let sent = Instant::now();
        let (answer, received) = tokio::join!(send(api, number as u64), device.receive_message());
        answer?;
        let (received, at) = received?;
        if received != text(number as u64) {
            return Err("the device received something else".into());
        }
        took.push(at - sent);
    }
    Ok(took)
}

fn ticks() -> tokio::time::Interval {
    let mut due = interval(Duration::from_secs(1) / RATE);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due
}

/// A message that begins with its number.
fn text(number: u64) -> Term {
    Term::from(format!("{number:<PAYLOAD$}"))
}

/// The number in a message, given in its JSON form.
fn number(message: &serde_json::Value) -> Option<u64> {
    message.as_str()?.trim_end().parse().ok()
}

#[derive(Default)]
struct Results(Vec<Measurement>);

impl Results {
    fn latency(&mut self, bench: &'static str, mut took: Vec<Duration>) {
        took.sort_unstable();
        let part = |hundredths: usize| {
            let index = (took.len() * hundredths / 100).min(took.len().saturating_sub(1));
            took.get(index).map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
        };
        self.add(bench, "latency_p50", part(50));
        self.add(bench, "latency_p99", part(99));
    }

    fn add(&mut self, bench: &'static str, metric: &'static str, value: f64) {
        let known = self.0.iter_mut().find(|known| known.bench == bench && known.metric == metric);
        match known {
            Some(known) => known.values.push(value),
            None => self.0.push(Measurement {
                bench,
                server: "fedecks-cloud",
                metric,
                unit: "µs",
                values: vec![value],
            }),
        }
    }
}

fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

async fn send(api: &Http, number: u64) -> Result<()> {
    let path = format!("/api/v1/devices/{}/messages", device_id(0)?);
    let body = serde_json::to_string(&format!("{number:<PAYLOAD$}"))?;
    let answer = api.post(&path, body).await;
    if answer.status != StatusCode::ACCEPTED {
        return Err(format!("{}: {}", answer.status, answer.text()).into());
    }
    Ok(())
}

/// A message's number, and when it arrived.
type Received = Result<(u64, Instant)>;

/// All readers of the events.
struct Subscribers {
    received: mpsc::UnboundedReceiver<Received>,
    next_number: u64,
    _readers: JoinSet<()>,
}

impl Subscribers {
    async fn open(api: &Http) -> Result<Self> {
        let (sender, received) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        for _ in 0..SUBSCRIBERS {
            let stream = api.open(Method::GET, "/api/v1/events?kind=message", "").await;
            if stream.status() != StatusCode::OK {
                return Err(format!("no events, but {}", stream.status()).into());
            }
            let sender = sender.clone();
            readers.spawn(async move {
                if let Err(error) = read(stream, &sender).await {
                    // Fails at the end of the measurement, when the receiver is gone.
                    let _ = sender.send(Err(error));
                }
            });
        }
        Ok(Self { received, next_number: 0, _readers: readers })
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// Reads server-sent events until they end and reports their messages. A gap is an error. Parsed here
/// because it is measured: `at` is before any work.
async fn read(mut stream: Response, sender: &mpsc::UnboundedSender<Received>) -> Result<()> {
    let mut line = Vec::new();
    while let Some(data) = stream.chunk().await? {
        let at = Instant::now();
        for byte in data {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            if let Some(json) = line.strip_prefix(b"data: ") {
                let event: serde_json::Value = serde_json::from_slice(json)?;
                let number = event.get("message").and_then(number);
                let number = number.ok_or_else(|| format!("an event of another kind: {event}"))?;
                if sender.send(Ok((number, at))).is_err() {
                    return Ok(());
                }
            }
            line.clear();
        }
    }
    Err(Error::from("the events ended"))
}
