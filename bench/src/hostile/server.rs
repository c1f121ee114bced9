//! The attacked server: a new one for each attack, measured and probed during it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::http::Http;
use fedecks_testing::raw_device::RawDevice;
use tokio::time::{Instant, sleep, timeout};

use super::limits::{ANSWER, SERVER_MEMORY, mib};
use super::probe::{Answers, Prober};

use crate::error::Result;
use crate::process::Usage;
use crate::report::Measurement;

/// How long the server is left alone before its memory at rest is read.
const SETTLE: Duration = Duration::from_secs(1);

/// A server at rest.
pub(super) struct Server {
    cloud: CloudProcess,
    usage: Usage,
    victim: Victim,
    admin: String,
}

/// What an attacker knows of the server.
#[derive(Clone)]
pub(super) struct Victim {
    pub(super) address: SocketAddr,
    /// An API token that may send to [`DEVICE`] and read its events.
    token: String,
}

/// The id of the device that attackers have.
pub(super) const DEVICE: &str = "attacked-1";

impl Victim {
    /// A client for the API with the attacker's token.
    pub(super) fn api(&self) -> Http {
        Http::to(self.address).token(&self.token)
    }

    /// The attacker's token.
    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// What an attack did to the server.
pub(super) struct Attacked {
    /// The peak of resident memory above that at rest, in bytes.
    grown: u64,
    answers: Answers,
    /// Cores in use, on average.
    cpu: f64,
    cpu_limit: Option<f64>,
    /// What was added to the log, in bytes per second.
    log: f64,
    log_limit: Option<f64>,
}

impl Server {
    pub(super) async fn start(program: &Path, lines: &str) -> Result<Self> {
        let cloud = CloudProcess::start(program, lines).await;
        let options = ["--role", "read", "--role", "send", "--devices", "attacked-*"];
        let token = cloud.token("attacker", &options).await;
        let admin = cloud.token("operator", &["--role", "admin", "--role", "read"]).await;
        // One login before the measurement: hashing a password takes 19 MiB, which the allocator keeps.
        drop(RawDevice::login(cloud.address, DEVICE).await);
        sleep(SETTLE).await;
        let usage = Usage::of(cloud.pid())?;
        let victim = Victim { address: cloud.address, token };
        Ok(Self { cloud, usage, victim, admin })
    }

    /// Runs an attack until it ends or for `length`, and asks the server for logins, revocations and its
    /// health all the while.
    pub(super) async fn under<A: Future<Output = Result<()>>>(
        self,
        attack: impl FnOnce(Victim) -> A,
        length: Duration,
    ) -> Result<Attacked> {
        let rest = self.usage.memory()?.resident;
        let logged = self.cloud.log().len();
        let (begin, cpu) = (Instant::now(), self.usage.cpu()?);
        let prober = Prober::start(self.victim.address, self.admin.clone())?;
        if let Ok(ended) = timeout(length, attack(self.victim.clone())).await {
            ended?;
            return Err("the attack ended by itself".into());
        }
        let answers = prober.stop()?;
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = (self.usage.cpu()? - cpu).as_secs_f64() / seconds;
        let log = (self.cloud.log().len() - logged) as f64 / seconds;
        let grown = self.usage.peak_memory()?.saturating_sub(rest);
        Ok(Attacked { grown, answers, cpu, cpu_limit: None, log, log_limit: None })
    }
}

impl Attacked {
    /// Also limits the cores in use.
    pub(super) fn with_cpu_limit(self, cores: f64) -> Self {
        Self { cpu_limit: Some(cores), ..self }
    }

    /// Also limits what is added to the log, in bytes per second.
    pub(super) fn with_log_limit(self, bytes_per_second: f64) -> Self {
        Self { log_limit: Some(bytes_per_second), ..self }
    }

    pub(super) fn measurements(&self, name: &'static str) -> Vec<Measurement> {
        let Answers { login, revocation, health, .. } = self.answers;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        [
            ("memory_above_rest", "MiB", mib(self.grown)),
            ("slowest_login", "ms", ms(login)),
            ("slowest_revocation", "ms", ms(revocation)),
            ("slowest_health_check", "ms", ms(health)),
            ("cores", "", self.cpu),
            ("log_kib_per_second", "KiB/s", self.log / 1024.0),
        ]
        .into_iter()
        .map(|(metric, unit, value)| Measurement {
            bench: name,
            server: "fedecks-cloud",
            metric,
            unit,
            values: vec![value],
        })
        .collect()
    }

    /// The limits that were exceeded.
    pub(super) fn failures(&self) -> Vec<String> {
        let mut failures: Vec<_> = self.answers.failure.iter().cloned().collect();
        if self.grown > SERVER_MEMORY {
            let (grown, limit) = (mib(self.grown), mib(SERVER_MEMORY));
            failures.push(format!("{grown:.0} MiB above rest, limit {limit} MiB"));
        }
        let Answers { login, revocation, health, .. } = self.answers;
        for (what, took) in [("login", login), ("revocation", revocation), ("health check", health)]
        {
            if took > ANSWER {
                failures.push(format!("a {what} took {took:?}, limit {ANSWER:?}"));
            }
        }
        if let Some(limit) = self.cpu_limit.filter(|limit| self.cpu > *limit) {
            failures.push(format!("{:.2} cores in use, limit {limit}", self.cpu));
        }
        if let Some(limit) = self.log_limit.filter(|limit| self.log > *limit) {
            failures.push(format!("{:.0} bytes of log per second, limit {limit}", self.log));
        }
        failures
    }
}
