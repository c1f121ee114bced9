//! The server under the soak, and what can be read of it.

use std::collections::HashMap;
use std::path::Path;

use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::http::Http;
use fedecks_testing::{PASSWORD, USER};
use serde_json::{Value, json};

use super::device::Pace;
use super::verdict::Sample;
use crate::error::Result;
use crate::process::Usage;
use crate::waiting::{METRICS, STORE};

/// Which metrics are recorded.
const RECORDED: [&str; 18] = [
    "fedecks_connected_devices",
    "fedecks_connections",
    "fedecks_connects_total",
    "fedecks_disconnects_total",
    "fedecks_messages_received_total",
    "fedecks_messages_sent_total",
    "fedecks_kept_messages_received_total",
    "fedecks_kept_messages_rejected_total",
    "fedecks_device_messages_accepted_total",
    "fedecks_device_messages_settled_total{state=\"delivered\"}",
    "fedecks_device_messages_waiting",
    "fedecks_device_requests_total{outcome=\"answered\"}",
    "fedecks_sessions_received_held_bytes",
    "fedecks_sessions_queued_held_bytes",
    "fedecks_requests_held_bytes",
    "fedecks_store_notes_waiting",
    "fedecks_store_failed_total",
    "fedecks_log_lines_suppressed_total",
];

/// The program with its store on disk, at its default log level.
pub(super) struct Server {
    pub(super) process: CloudProcess,
    metrics: Http,
    usage: Usage,
}

/// What was read at one moment.
pub(super) struct Reading {
    metrics: HashMap<String, f64>,
    anonymous: u64,
    resident: u64,
    pub(super) files: usize,
    threads: usize,
    store: u64,
    log: u64,
    cpu: f64,
}

impl Server {
    pub(super) async fn start(program: &Path, pace: &Pace) -> Result<Self> {
        let [heartbeat, idle_timeout] =
            [pace.heartbeat, pace.idle_timeout].map(|time| time.as_secs());
        let lines = format!(
            "[sessions]\nheartbeat = \"{heartbeat}s\"\nidle_timeout = \"{idle_timeout}s\"\n{METRICS}"
        );
        let program = CloudProgram::configured(program, &lines);
        program.add_account(USER, PASSWORD).await;
        let process = program.serve(&[]).await;
        let metrics = *process.addresses().get(1).ok_or("no listener for metrics")?;
        let usage = Usage::of(process.pid())?;
        Ok(Self { process, metrics: Http::to(metrics), usage })
    }

    pub(super) async fn read(&self) -> Result<Reading> {
        let text = self.metrics.get("/metrics").await.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let metrics = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        let metrics = metrics.collect();
        let of_process = |what: &str| {
            let folder = format!("/proc/{}/{what}", self.process.pid());
            Ok::<_, std::io::Error>(std::fs::read_dir(folder)?.count())
        };
        let (files, threads) = (of_process("fd")?, of_process("task")?);
        let memory = self.usage.memory()?;
        let folder = self.process.program.folder.path();
        let size = |name: String| std::fs::metadata(folder.join(name)).map_or(0, |it| it.len());
        Ok(Reading {
            metrics,
            anonymous: memory.anonymous,
            resident: memory.resident,
            files,
            threads,
            store: size(STORE.to_owned()) + size(format!("{STORE}-wal")),
            log: size("log".to_owned()),
            cpu: self.usage.cpu()?.as_secs_f64(),
        })
    }
}

impl Reading {
    /// A metric, if the server has it by now.
    pub(super) fn metric(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn sample(&self, at: f64) -> Sample {
        let files = self.files as f64 - self.metric("fedecks_connections");
        Sample {
            at,
            connected: self.metric("fedecks_connected_devices"),
            anonymous: self.anonymous as f64,
            files,
            threads: self.threads as f64,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let metrics: serde_json::Map<_, _> =
            RECORDED.iter().map(|name| ((*name).to_owned(), json!(self.metric(name)))).collect();
        json!({
            "anonymous_bytes": self.anonymous,
            "mapped_bytes": self.resident.saturating_sub(self.anonymous),
            "open_files": self.files,
            "threads": self.threads,
            "store_bytes": self.store,
            "log_bytes": self.log,
            "cpu_seconds": self.cpu,
            "metrics": metrics,
        })
    }
}
