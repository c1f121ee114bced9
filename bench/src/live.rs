//! How long messages take to readers of the event stream, and from the HTTP API to devices.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedecks_protocol::Term;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::client::{Client, Target};
use crate::cloud::CloudProgram;
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::identity::{auth_header, device_id, keyring};
use crate::report::Measurement;
use crate::server::Kind;
use crate::setting::Setting;

/// Who reads the server's events.
const SUBSCRIBERS: usize = 100;

/// Devices that are connected besides.
const IDLE: usize = 1_000;

/// Messages per second.
const RATE: u32 = 50;

/// Messages that make everything reach its usual state, before any are measured.
const WARM_UP: usize = 50;

/// How many bytes a message has.
const PAYLOAD: usize = 100;

/// How long anything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the server gets to finish what nobody waits for.
const SETTLE: Duration = Duration::from_millis(300);

/// How long messages take through the program `fedecks-cloud`: from a device to everybody who reads
/// its events, and from the HTTP API to a device.
pub(crate) async fn measure(setting: &Setting<'_>, program: &Path) -> Result<Vec<Measurement>> {
    let folder = tempfile::tempdir_in(setting.folder.path())?;
    let cloud = CloudProgram::start(program, folder.path(), None, "").await?;
    let token = cloud.api_token(&["--role", "read", "--role", "send"]).await?;
    let target = Target { kind: Kind::Fedecks, address: cloud.address, tls: None };
    let keyring = keyring()?;
    let mut idle = Fleet::connect(&target, &keyring, 1..1 + IDLE).await?;
    let mut device = Client::connect(&target, 0, &auth_header(&keyring, 0)?).await?;
    let api = Api::to(&cloud, token);
    api.until_accepted().await?;
    let mut subscribers = Subscribers::open(&api).await?;

    let messages = setting.options.live_messages;
    let mut results = Results::default();
    fan_out(&mut device, &mut subscribers, WARM_UP).await?;
    to_device(&mut device, &api, WARM_UP).await?;
    for _ in 0..setting.options.repeats {
        // Devices that are silent for a minute are dropped.
        idle.ping(setting.options.pings_per_second).await?;
        sleep(SETTLE).await;
        let cpu = cloud.usage.cpu()?;
        let took = fan_out(&mut device, &mut subscribers, messages).await?;
        let cpu = cloud.usage.cpu()? - cpu;
        results.add("fan-out", "cpu_us_per_event", micros(cpu, took.len()));
        results.latency("fan-out", took);
    }
    drop(subscribers);
    for _ in 0..setting.options.repeats {
        idle.ping(setting.options.pings_per_second).await?;
        device.ping().await?;
        sleep(SETTLE).await;
        let cpu = cloud.usage.cpu()?;
        let took = to_device(&mut device, &api, messages).await?;
        let cpu = cloud.usage.cpu()? - cpu;
        results.add("api-to-device", "cpu_us_per_message", micros(cpu, took.len()));
        results.latency("api-to-device", took);
    }
    idle.ping(setting.options.pings_per_second).await?;
    idle.close().await?;
    Ok(results.0)
}

/// Sends so many messages from the device, evenly in time, and gives how long each took to each
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
        let (number, at) = timeout(PATIENCE, subscribers.heard.recv())
            .await
            .map_err(|_| "a subscriber did not hear of a message in time")?
            .ok_or("no subscriber is left")??;
        let sent = sent.get(&number).ok_or("a subscriber heard what was not sent")?;
        took.push(at - *sent);
    }
    Ok(took)
}

/// Sends so many messages to the device by the API, evenly in time, and gives how long each took to
/// the device.
async fn to_device(device: &mut Client, api: &Api, messages: usize) -> Result<Vec<Duration>> {
    let mut due = ticks();
    let mut took = Vec::with_capacity(messages);
    for number in 0..messages {
        due.tick().await;
        let sent = Instant::now();
        let (answer, heard) = tokio::join!(api.send(number as u64), device.hear());
        answer?;
        let (heard, at) = heard?;
        if heard != text(number as u64) {
            return Err("the device heard something else".into());
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

/// A message with its number in front.
fn text(number: u64) -> Term {
    Term::from(format!("{number:<PAYLOAD$}"))
}

/// The number of a message, in its JSON form.
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

/// The server's HTTP API.
#[derive(Clone)]
struct Api {
    client: HttpClient<HttpConnector, Full<Bytes>>,
    base: String,
    token: Arc<str>,
}

impl Api {
    fn to(cloud: &CloudProgram<'_>, token: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = HttpClient::builder(TokioExecutor::new()).build(connector);
        Self { client, base: format!("http://{}/api/v1", cloud.address), token: token.into() }
    }

    /// Waits until the server knows the token.
    async fn until_accepted(&self) -> Result<()> {
        let accepted = async {
            while self.ask(Method::GET, "/token", "").await?.status() != StatusCode::OK {
                sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, accepted).await.map_err(|_| "the server does not take the API token")?
    }

    async fn send(&self, number: u64) -> Result<()> {
        let path = format!("/devices/{}/messages", device_id(0)?);
        let body = serde_json::to_string(&format!("{number:<PAYLOAD$}"))?;
        let answer = self.ask(Method::POST, &path, &body).await?;
        if answer.status() != StatusCode::ACCEPTED {
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<http::Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        Ok(timeout(PATIENCE, self.client.request(request)).await??)
    }
}

/// A message's number, and when it was heard.
type Heard = Result<(u64, Instant)>;

/// Everybody who reads the events.
struct Subscribers {
    heard: mpsc::UnboundedReceiver<Heard>,
    next_number: u64,
    _readers: JoinSet<()>,
}

impl Subscribers {
    async fn open(api: &Api) -> Result<Self> {
        let (hears, heard) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        for _ in 0..SUBSCRIBERS {
            let stream = api.ask(Method::GET, "/events?kind=message", "").await?;
            if stream.status() != StatusCode::OK {
                return Err(format!("no events, but {}", stream.status()).into());
            }
            let hears = hears.clone();
            readers.spawn(async move {
                if let Err(error) = read(stream.into_body(), &hears).await {
                    // Nobody listens any more at the end of the measurement.
                    let _ = hears.send(Err(error));
                }
            });
        }
        Ok(Self { heard, next_number: 0, _readers: readers })
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// Reads server-sent events for ever and passes on which messages there were. An event that says that
/// some are missing is an error.
async fn read(mut body: Incoming, hears: &mpsc::UnboundedSender<Heard>) -> Result<()> {
    let mut line = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
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
                if hears.send(Ok((number, at))).is_err() {
                    return Ok(());
                }
            }
            line.clear();
        }
    }
    Err(Error::from("the events ended"))
}
