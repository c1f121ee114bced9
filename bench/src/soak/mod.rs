//! Devices that come and go for a long time, and whether anything in the server grows.

mod device;
mod server;
mod session;
mod tally;
mod traffic;
mod verdict;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use self::device::{Device, Pace, World};
use self::server::{Reading, Server};
use self::tally::{Count, Tally};
use self::verdict::{Ends, Sample, Verdict, judge};
use crate::client::Target;
use crate::error::Result;
use crate::options::Soak;
use crate::report::{Measurement, Report};
use crate::server::Kind;

/// Connections that begin, messages, and kept messages of all devices, per second.
const CONNECTS: f64 = 30.0;
const MESSAGES: f64 = 20.0;
const KEPT: f64 = 5.0;

/// The part of the devices that is connected.
const CONNECTED: f64 = 0.9;

/// How many devices come per second at the beginning.
const COMING: f64 = 170.0;

/// How often a sample is taken, unless the run is short.
const SAMPLE: Duration = Duration::from_secs(60);

/// A run for less long has shorter heartbeats and silences.
const SHORT: Duration = Duration::from_secs(60);

/// From this length on, the growth counts: SQLite's cache of pages is full after some 15 minutes.
const LONG: Duration = Duration::from_secs(3_000);

/// How long the server is left alone before the devices come.
const SETTLE: Duration = Duration::from_secs(1);

const ACCEPTED: &str = "fedecks_device_messages_accepted_total";
const DELIVERED: &str = "fedecks_device_messages_settled_total{state=\"delivered\"}";

/// How long the server may take to notice that all devices have left, and that it is idle.
const PATIENCE: Duration = Duration::from_secs(120);

/// Has the devices come and go, writes a sample each minute, and judges them.
pub(crate) async fn measure(options: &Soak, program: &Path) -> Result<Report> {
    let length = Duration::from_secs(options.seconds);
    let pace = Pace::of(options.devices, length);
    let server = Server::start(program, &pace).await?;
    let token = server.process.token("soak", &["--role", "send"]).await;
    let target = Target { kind: Kind::Fedecks, address: server.process.address, tls: None };
    let (leave, leaving) = watch::channel(false);
    let connected = (0..options.devices).map(|_| AtomicBool::new(false)).collect();
    let tally = Tally::default();
    let world = Arc::new(World { target, pace, tally, connected, leaving });
    let mut run = Run::begin(options, world.clone(), server).await?;

    let mut devices = JoinSet::new();
    for index in 0..options.devices {
        let device = Device::new(world.clone(), index, options.seed)?;
        devices.spawn(device.live(Duration::from_secs_f64(index as f64 / COMING)));
    }
    let api = run.server.process.http().token(&token).json();
    let mut traffic = JoinSet::new();
    traffic.spawn(traffic::send(world, api, options.seed));
    let mut due = interval_at(run.began + run.every, run.every);
    due.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while run.began.elapsed() < length {
        due.tick().await;
        run.sample().await?;
    }

    leave.send_replace(true);
    let mut unacknowledged = 0;
    while let Some(of_device) = devices.join_next().await {
        unacknowledged += of_device?;
    }
    while let Some(done) = traffic.join_next().await {
        done??;
    }
    run.end(unacknowledged).await
}

impl Pace {
    fn of(devices: usize, length: Duration) -> Self {
        let connected = devices as f64 * CONNECTED;
        let each = |per_second: f64| Duration::from_secs_f64(connected / per_second);
        let [heartbeat, idle_timeout] = if length < SHORT { [1, 3] } else { [19, 60] };
        Self {
            stay: each(CONNECTS),
            away: Duration::from_secs_f64((devices as f64 - connected) / CONNECTS),
            message: each(MESSAGES),
            kept: each(KEPT),
            heartbeat: Duration::from_secs(heartbeat),
            idle_timeout: Duration::from_secs(idle_timeout),
        }
    }
}

/// A run, and what was sampled of it.
struct Run {
    world: Arc<World>,
    server: Server,
    seed: u64,
    length: Duration,
    every: Duration,
    began: Instant,
    evidence: Option<File>,
    samples: Vec<Sample>,
    files_before: usize,
}

impl Run {
    async fn begin(options: &Soak, world: Arc<World>, server: Server) -> Result<Self> {
        let evidence = options.evidence.as_ref().map(File::create).transpose()?;
        let length = Duration::from_secs(options.seconds);
        sleep(SETTLE).await;
        let before = server.read().await?;
        let files_before = before.files;
        let mut run = Self {
            world,
            server,
            seed: options.seed,
            length,
            every: SAMPLE.min(length / 8),
            began: Instant::now(),
            evidence,
            samples: Vec::new(),
            files_before,
        };
        run.write(&before, json!({}))?;
        Ok(run)
    }

    async fn sample(&mut self) -> Result<()> {
        let reading = self.server.read().await?;
        self.samples.push(reading.sample(self.began.elapsed().as_secs_f64()));
        self.write(&reading, json!({}))
    }

    /// Waits until the server has noticed that all have left, and judges.
    async fn end(mut self, unacknowledged: u64) -> Result<Report> {
        let until = Instant::now() + PATIENCE;
        let reading = loop {
            let reading = self.server.read().await?;
            // The one for the metrics.
            let is_idle = reading.metric("fedecks_connections") <= 1.0;
            if is_idle && self.is_accounted(&reading) || Instant::now() > until {
                break reading;
            }
            sleep(Duration::from_millis(500)).await;
        };
        let ends = Ends {
            files_before: self.files_before as f64,
            files_after: reading.files as f64,
            connected_after: reading.metric("fedecks_connected_devices"),
        };
        let mut verdict = judge(&self.samples, ends, self.length >= LONG);
        verdict.failures.extend(self.lost(&reading, unacknowledged));
        let summary = json!({
            "unacknowledged": unacknowledged,
            "quarters_anonymous_bytes": verdict.quarters,
            "growth_percent": verdict.growth,
            "slope_bytes_per_hour": verdict.slope,
            "files_growth": verdict.files_growth,
            "threads_growth": verdict.threads_growth,
            "failures": verdict.failures,
        });
        self.write(&reading, summary)?;
        Ok(self.report(&reading, verdict))
    }

    /// Each kept message for a device is delivered or waits; those that wait are counted every 10 s.
    fn is_accounted(&self, reading: &Reading) -> bool {
        let [accepted, delivered] = [ACCEPTED, DELIVERED].map(|name| reading.metric(name));
        let waiting = reading.metric("fedecks_device_messages_waiting");
        self.length < SHORT || delivered + waiting == accepted
    }

    /// What was lost or came twice, and what was not expected.
    fn lost(&self, reading: &Reading, unacknowledged: u64) -> Vec<String> {
        let of = |count| self.world.tally.of(count) as f64;
        let stored = reading.metric("fedecks_kept_messages_received_total");
        let [acknowledged, made] = [Count::KeptAcknowledged, Count::KeptMade].map(of);
        let [accepted, delivered] = [ACCEPTED, DELIVERED].map(|name| reading.metric(name));
        let taken = of(Count::KeptTaken);
        let mut failures = Vec::new();
        if acknowledged + unacknowledged as f64 != made || !(acknowledged..=made).contains(&stored)
        {
            failures.push(format!(
                "{stored} kept messages stored of {made}, and {acknowledged} acknowledged"
            ));
        }
        let is_known = accepted == of(Count::KeptAccepted);
        if !is_known || !(delivered..=accepted).contains(&taken) || !self.is_accounted(reading) {
            failures.push(format!(
                "{taken} kept messages taken, {delivered} delivered, {accepted} accepted"
            ));
        }
        failures.extend(self.world.tally.descriptions());
        failures
    }

    fn report(self, reading: &Reading, verdict: Verdict) -> Report {
        let measurement = |metric, unit, values| {
            let (bench, server) = ("soak", "fedecks-cloud serve");
            Measurement { bench, server, metric, unit, values }
        };
        let of = |count| vec![self.world.tally.of(count) as f64];
        let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
        let quarters = verdict.quarters.map(mib).to_vec();
        let measurements = vec![
            measurement("devices", "", vec![self.world.connected.len() as f64]),
            measurement("seconds", "s", vec![self.length.as_secs_f64()]),
            measurement("connects", "", of(Count::Connects)),
            measurement("closed", "", of(Count::Closed)),
            measurement("reset", "", of(Count::Reset)),
            measurement("expired", "", of(Count::Expired)),
            measurement("replaced", "", of(Count::Replaced)),
            measurement("messages_sent", "", of(Count::MessagesSent)),
            measurement("kept_acknowledged", "", of(Count::KeptAcknowledged)),
            measurement("kept_taken", "", of(Count::KeptTaken)),
            measurement("questions_answered", "", of(Count::QuestionsAnswered)),
            measurement("anonymous_in_quarters", "MiB", quarters),
            measurement("memory_growth", "%", vec![verdict.growth]),
            measurement("memory_slope", "MiB/h", vec![mib(verdict.slope)]),
            measurement(
                "more_files_at_end",
                "",
                vec![reading.files as f64 - self.files_before as f64],
            ),
        ];
        let failures = verdict.failures.into_iter().map(|failure| format!("soak: {failure}"));
        Report { measurements, failures: failures.collect() }
    }

    /// A line of evidence.
    fn write(&mut self, reading: &Reading, more: Value) -> Result<()> {
        let Some(file) = &mut self.evidence else { return Ok(()) };
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let mut line = json!({
            "at": self.began.elapsed().as_secs_f64(),
            "seed": self.seed,
            "devices": self.world.connected.len(),
            "connected": self.world.connected(),
            "load": load.split(' ').next(),
            "server": reading.to_json(),
            "counts": self.world.tally.to_json(),
        });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        Ok(writeln!(file, "{line}")?)
    }
}
