//! Devices that reconnect all at once after their server was killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use fedecks_protocol::Refusal;
use fedecks_testing::cloud::keyring;
use fedecks_testing::cloud_process::CloudProcess;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Client, NotConnected, Target};
use crate::devices::{BACKOFF, Devices, MAX_BACKOFF};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::identity::{Certificate, auth_header};
use crate::process::Usage;
use crate::report::Measurement;
use crate::server::Kind;
use crate::setting::Setting;
use crate::tickets::TlsClient;

/// How many of the devices are the device library with its token on disk.
const REAL: usize = 50;

/// The server's default accept limits, which fit this number of devices. They are scaled down for
/// fewer, so that they still decide.
const DEFAULT: Limits = Limits { burst: 4_000, per_second: 2_000 };
const DEVICES: usize = 10_000;

/// How long one attempt may take: what a device allows for TCP, the upgrade and the Welcome.
const ATTEMPT: Duration = Duration::from_secs(45);

/// How long all attempts of all devices may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much longer than the accept limit allows it may take on a busy machine. On an idle one it is
/// about 10 ms.
const SLACK: Duration = Duration::from_secs(10);

/// How much the allocator keeps for any number of devices, in bytes.
const KEPT: u64 = 4 * 1024 * 1024;

/// How long the server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// All devices dial as soon as the killed server listens again.
pub(crate) async fn measure(
    setting: &Setting<'_>,
    program: &Path,
    over_tls: bool,
) -> Result<Vec<Measurement>> {
    let bench = if over_tls { "storm-tls" } else { "storm" };
    let count = if over_tls { setting.options.tls_storm } else { setting.options.storm };
    let outcome = run(setting, program, over_tls, count).await;
    let outcome = outcome.map_err(|error| format!("{bench}: {error}"))?;
    let measurement = |metric, unit, value| Measurement {
        bench,
        server: "fedecks-cloud",
        metric,
        unit,
        values: vec![value],
    };
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    let mut measurements = vec![
        measurement("devices", "", count as f64),
        measurement("allowed_by_accept_limit", "s", outcome.allowed.as_secs_f64()),
        measurement("half_back_after", "s", outcome.half_back.as_secs_f64()),
        measurement("all_back_after", "s", outcome.all_back.as_secs_f64()),
        measurement("real_devices_back_after", "s", outcome.real_back.as_secs_f64()),
        measurement("resumed_sessions", "", outcome.resumed as f64),
        measurement("cpu_us_per_reconnect", "µs", outcome.cpu.as_secs_f64() * 1e6 / count as f64),
        measurement("anonymous_before", "MiB", mib(outcome.memory_before)),
        measurement("anonymous_after", "MiB", mib(outcome.memory_after)),
        measurement("resident_peak", "MiB", mib(outcome.peak)),
    ];
    for (failure, times) in &outcome.failures {
        measurements.push(measurement(failure, "", *times as f64));
    }
    Ok(measurements)
}

struct Outcome {
    /// How long the accept limit delays the last device.
    allowed: Duration,
    half_back: Duration,
    all_back: Duration,
    real_back: Duration,
    /// How many TLS sessions the simulated devices resumed.
    resumed: usize,
    cpu: Duration,
    memory_before: u64,
    memory_after: u64,
    peak: u64,
    failures: Failures,
}

/// The number of failed attempts by kind. None of these costs a device its token.
type Failures = BTreeMap<&'static str, usize>;

struct Limits {
    burst: usize,
    per_second: usize,
}

impl Limits {
    fn of(count: usize) -> Self {
        let share = |limit: usize| (limit * count).div_ceil(DEVICES).max(1);
        Self { burst: share(DEFAULT.burst), per_second: share(DEFAULT.per_second) }
    }

    /// When the last of `count` simultaneous connections is accepted.
    fn allow(&self, count: usize) -> Duration {
        let waiting = count.saturating_sub(self.burst);
        Duration::from_secs_f64(waiting as f64 / self.per_second as f64)
    }
}

async fn run(
    setting: &Setting<'_>,
    program: &Path,
    over_tls: bool,
    count: usize,
) -> Result<Outcome> {
    let certificate = over_tls.then_some(&setting.certificate);
    let limits = Limits::of(count);
    let mut lines = format!(
        "[limits]\naccepts_per_second = {}\naccept_burst = {}\n",
        limits.per_second, limits.burst
    );
    if let Some(Certificate { chain, key, .. }) = certificate {
        lines.push_str(&format!("[tls]\ncertificate = {chain:?}\nkey = {key:?}\n"));
    }
    let mut cloud = CloudProcess::start(program, &lines).await;
    let tls = certificate.map(Certificate::returning_client);
    let target = Target { kind: Kind::Fedecks, address: cloud.address, tls };
    let real = REAL.min(count / 2);
    let mut devices = Devices::login(real, &target, certificate).await;
    let tokens = devices.tokens();

    // The allocator keeps the memory of password hashing, which would hide the rest.
    cloud.kill().await;
    devices.lost().await?;
    cloud.start_again().await;
    devices.reconnect().await?;
    let keyring = keyring();
    let fleet = Fleet::connect(&target, &keyring, real..count).await?;
    sleep(SETTLE).await;
    let memory_before = Usage::of(cloud.pid())?.memory()?.anonymous;

    cloud.kill().await;
    fleet.lost().await?;
    devices.lost().await?;
    let headers =
        (real..count).map(|index| auth_header(&keyring, index)).collect::<Result<Vec<_>>>()?;
    let resumed = || target.tls.as_ref().map_or(0, TlsClient::resumed);
    if let Some(tls) = &target.tls {
        tls.resume();
    }
    cloud.start_again().await;
    let begin = Instant::now();
    let usage = Usage::of(cloud.pid())?;
    let cpu = usage.cpu()?;
    let (storm, back) = tokio::join!(all_at_once(&target, real, headers), devices.reconnect());
    let Storm { clients, mut times, failures } = storm?;
    let real_back = back? - begin;
    let cpu = usage.cpu()? - cpu;
    times.sort_unstable();
    let after = |at: Option<&Instant>| at.map_or(Duration::ZERO, |at| *at - begin);
    let (half_back, all_back) = (after(times.get(times.len() / 2)), after(times.last()));
    let mut fleet = Fleet(clients);
    fleet.ping(setting.options.pings_per_second).await?;
    sleep(SETTLE).await;
    let memory_after = usage.memory()?.anonymous;
    let peak = usage.peak_memory()?;
    let resumed = resumed();
    if over_tls && resumed < count - real {
        return Err(format!("{resumed} TLS sessions were resumed of {}", count - real).into());
    }
    if devices.tokens() != tokens {
        return Err("a device's token on disk has changed".into());
    }
    let all_back = all_back.max(real_back);
    let allowed = limits.allow(count);
    if all_back > allowed + SLACK {
        return Err(format!("back only after {all_back:?}, allowed {allowed:?} + {SLACK:?}").into());
    }
    if memory_after > memory_before + memory_before / 2 + KEPT {
        return Err(format!("memory grew from {memory_before} to {memory_after} bytes").into());
    }
    Ok(Outcome {
        allowed,
        half_back,
        all_back,
        real_back,
        resumed,
        cpu,
        memory_before,
        memory_after,
        peak,
        failures,
    })
}

struct Storm {
    clients: Vec<Client>,
    /// When each was connected.
    times: Vec<Instant>,
    failures: Failures,
}

/// Dials with one client for each header at once, each until it is connected.
async fn all_at_once(target: &Target, first: usize, headers: Vec<String>) -> Result<Storm> {
    let target = Arc::new(target.clone());
    let mut running = JoinSet::new();
    for (index, auth) in (first..).zip(headers) {
        let target = target.clone();
        running.spawn(async move { come_back(&target, index, &auth).await });
    }
    let mut storm = Storm { clients: Vec::new(), times: Vec::new(), failures: Failures::new() };
    let all = async {
        while let Some(back) = running.join_next().await {
            let (client, at, failures) = back??;
            storm.clients.push(client);
            storm.times.push(at);
            for failure in failures {
                *storm.failures.entry(failure).or_default() += 1;
            }
        }
        Ok::<_, Error>(())
    };
    timeout(PATIENCE, all).await.map_err(|_| "not all devices were back in time")??;
    Ok(storm)
}

/// Dials until it is connected, as a device does, and returns the failures. One that would cost a
/// device its token is an error.
async fn come_back(
    target: &Target,
    index: usize,
    auth: &str,
) -> Result<(Client, Instant, Vec<&'static str>)> {
    let mut random = Rng::with_seed(index as u64);
    let mut longest = BACKOFF;
    let mut failures = Vec::new();
    loop {
        let failure = match timeout(ATTEMPT, Client::dial(target, index, auth)).await {
            Ok(Ok(client)) => return Ok((client, Instant::now(), failures)),
            Ok(Err(NotConnected::NotListening)) => "nobody_listened",
            Ok(Err(NotConnected::CutOff)) => "cut_off",
            Ok(Err(NotConnected::Refused(Refusal::Unavailable))) => "unavailable",
            Ok(Err(NotConnected::Refused(Refusal::RateLimited))) => "rate_limited",
            Ok(Err(error @ (NotConnected::Refused(_) | NotConnected::Failed(_)))) => {
                return Err(format!("device {index} could not come back: {error}").into());
            }
            Err(_) => "too_late",
        };
        failures.push(failure);
        sleep(longest.mul_f64(random.f64())).await;
        longest = (longest * 2).min(MAX_BACKOFF);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_delay_any_number_of_devices_equally() {
        assert_eq!(Limits::of(DEVICES).allow(DEVICES), Duration::from_secs(3));
        assert_eq!(Limits::of(1_000).allow(1_000), Duration::from_secs(3));
        assert_eq!(DEFAULT.allow(4_000), Duration::ZERO);
    }
}
