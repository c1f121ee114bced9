//! The benchmarks that compare two servers: idle connections, echoes and handshakes.

use std::path::Path;
use std::time::Duration;

use fedecks_testing::cloud::keyring;
use fedecks_testing::cloud_process::CloudProcess;

use crate::client::Target;
use crate::drain;
use crate::error::Result;
use crate::fleet::{Fleet, come_and_go};
use crate::footprint;
use crate::hostile;
use crate::identity::{Certificate, auth_header};
use crate::kept;
use crate::lists;
use crate::live;
use crate::options::{Bench, Options};
use crate::process::Usage;
use crate::report::{Measurement, Report, heading};
use crate::server::Kind;
use crate::setting::{ANY_RATE, Setting};
use crate::soak;
use crate::storm;

/// Connections that stay open in addition to the measured ones. They bring the server to its usual
/// state: threads started, allocators filled, code loaded.
const WARM_UP: usize = 200;

/// Connections that echo messages.
const TALKERS: usize = 50;

/// How long a server may take to finish work that no client waits for.
const SETTLE: Duration = Duration::from_millis(300);

/// The program, next to the library.
const PROGRAM: &str = "fedecks-cloud serve";

/// The benchmarks that compare servers.
const COMPARED: [Bench; 6] = [
    Bench::IdlePlaintext,
    Bench::IdleMany,
    Bench::IdleTls,
    Bench::Echo,
    Bench::Handshake,
    Bench::HandshakeTls,
];

/// Runs the benchmarks and prints their results.
#[expect(clippy::print_stdout, reason = "the results are what this program is for")]
pub(crate) fn measure(options: &Options) -> Result<()> {
    // One thread: it leaves a core of two to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::Builder::new().prefix("fedecks-bench-").tempdir()?;
    let certificate = Certificate::make(folder.path());
    let setting = Setting { options, folder, certificate };
    if !options.json {
        println!("{}", heading());
    }
    let print = |measurement: &Measurement| {
        println!("{}", if options.json { measurement.to_json() } else { measurement.to_row() });
    };
    for bench in COMPARED {
        if options.wants(bench) {
            runtime.block_on(setting.in_turns(bench))?.iter().for_each(print);
        }
    }
    if let (true, Some(fedecksd)) = (options.wants(Bench::Footprint), &options.fedecksd) {
        runtime.block_on(footprint::measure(&setting, fedecksd))?.iter().for_each(print);
    }
    for (bench, over_tls) in [(Bench::Storm, false), (Bench::StormTls, true)] {
        if let (true, Some(program)) = (options.wants(bench), &options.fedecks_cloud) {
            let measured = storm::measure(&setting, program, over_tls);
            runtime.block_on(measured)?.iter().for_each(print);
        }
    }
    if let (true, Some(program)) = (options.wants(Bench::Live), &options.fedecks_cloud) {
        runtime.block_on(live::measure(&setting, program))?.iter().for_each(print);
    }
    if let (true, Some(program)) = (options.wants(Bench::Kept), &options.fedecks_cloud) {
        runtime.block_on(kept::measure(&setting, program))?.iter().for_each(print);
    }
    let mut failures = Vec::new();
    let mut report = |report: Report| {
        report.measurements.iter().for_each(print);
        failures.extend(report.failures);
    };
    if let (true, Some(program)) = (options.wants(Bench::Drain), &options.fedecks_cloud) {
        report(runtime.block_on(drain::measure(&setting, program))?);
    }
    if let (true, Some(program)) = (options.wants(Bench::Lists), &options.fedecks_cloud) {
        report(runtime.block_on(lists::measure(&setting, program))?);
    }
    if options.wants(Bench::Hostile) {
        if let Some(program) = &options.fedecks_cloud {
            report(runtime.block_on(hostile::attack_server(&setting, program))?);
        }
        if let Some(fedecksd) = &options.fedecksd {
            report(runtime.block_on(hostile::attack_device(&setting, fedecksd))?);
        }
    }
    if let (true, Some(program)) = (options.wants(Bench::Soak), &options.fedecks_cloud) {
        report(runtime.block_on(soak::measure(&options.soak, program))?);
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

/// What one run measured: metric, unit, value.
type Values = Vec<(&'static str, &'static str, f64)>;

impl Setting<'_> {
    /// Measures the servers in turn, repeatedly, each time in a new process.
    async fn in_turns(&self, bench: Bench) -> Result<Vec<Measurement>> {
        let mut measurements: Vec<Measurement> = Vec::new();
        let repeats = if bench == Bench::IdleMany { 1 } else { self.options.repeats };
        for _ in 0..repeats {
            let kinds = Kind::ALL.into_iter().filter(|kind| self.options.serves(*kind));
            for kind in kinds.filter(|kind| !over_tls(bench) || kind.has_tls()) {
                let server = kind.name();
                let run = self.run(bench, kind).await;
                let values = run.map_err(|error| format!("{}, {server}: {error}", bench.name()))?;
                add(&mut measurements, bench, server, values);
            }
            let program = self.options.fedecks_cloud.as_deref();
            let program = program.filter(|_| self.options.serves(Kind::Fedecks));
            let shipped =
                matches!(bench, Bench::IdlePlaintext | Bench::IdleMany | Bench::Handshake);
            if let (true, Some(program)) = (shipped, program) {
                let run = self.run_program(bench, program).await;
                let values =
                    run.map_err(|error| format!("{}, {PROGRAM}: {error}", bench.name()))?;
                add(&mut measurements, bench, PROGRAM, values);
            }
        }
        Ok(measurements)
    }

    /// The program as it is shipped, with its store and at its default log level.
    async fn run_program(&self, bench: Bench, program: &Path) -> Result<Values> {
        let cloud = CloudProcess::start(program, ANY_RATE).await;
        let target = Target { kind: Kind::Fedecks, address: cloud.address, tls: None };
        let usage = Usage::of(cloud.pid())?;
        match bench {
            Bench::Handshake => self.handshake(&target, usage).await,
            _ => self.idle(&target, usage, bench).await,
        }
    }

    async fn run(&self, bench: Bench, kind: Kind) -> Result<Values> {
        let folder = tempfile::tempdir_in(self.folder.path())?;
        let tls = over_tls(bench).then_some(&self.certificate);
        let (server, target) = self.start(kind, tls, folder.path()).await?;
        let values = match bench {
            Bench::IdlePlaintext | Bench::IdleTls | Bench::IdleMany => {
                self.idle(&target, server.usage, bench).await?
            }
            Bench::Echo => self.echo(&target, server.usage).await?,
            Bench::Handshake => self.handshake(&target, server.usage).await?,
            Bench::HandshakeTls => {
                let client = self.certificate.returning_client();
                client.resume();
                let returning = Target { tls: Some(client.clone()), ..target.clone() };
                let full = self.handshake_cpu(&target, server.usage).await?;
                let resumed = self.handshake_cpu(&returning, server.usage).await?;
                let count = client.resumed();
                if count < self.options.handshakes {
                    return Err(format!("only {count} sessions were resumed").into());
                }
                vec![
                    ("cpu_us_per_full_handshake", "µs", full),
                    ("cpu_us_per_resumed_handshake", "µs", resumed),
                ]
            }
            Bench::Footprint
            | Bench::Storm
            | Bench::StormTls
            | Bench::Live
            | Bench::Kept
            | Bench::Drain
            | Bench::Hostile
            | Bench::Lists
            | Bench::Soak => {
                return Err("this is measured without a peer".into());
            }
        };
        server.stop().await?;
        Ok(values)
    }

    /// The memory of connections that have pinged, of all and of those beyond the first third, and the CPU
    /// time of a ping.
    async fn idle(&self, target: &Target, usage: Usage, bench: Bench) -> Result<Values> {
        let Options { pings_per_second, ping_rounds, connections, many_connections, .. } =
            *self.options;
        let connections = if bench == Bench::IdleMany { many_connections } else { connections };
        let keyring = keyring();
        let mut warm = Fleet::connect(target, &keyring, 0..WARM_UP).await?;
        warm.ping(pings_per_second).await?;
        tokio::time::sleep(SETTLE).await;
        let before = usage.memory()?.anonymous;
        let third = connections.div_ceil(3);
        let end = WARM_UP + connections;
        let mut fleet = Fleet::connect(target, &keyring, WARM_UP..WARM_UP + third).await?;
        tokio::time::sleep(SETTLE).await;
        for _ in 0..ping_rounds {
            fleet.ping(pings_per_second).await?;
        }
        let with_a_third = usage.memory()?.anonymous;
        fleet.0.extend(Fleet::connect(target, &keyring, WARM_UP + third..end).await?.0);
        tokio::time::sleep(SETTLE).await;
        let cpu = usage.cpu()?;
        for _ in 0..ping_rounds {
            fleet.ping(pings_per_second).await?;
        }
        let cpu = usage.cpu()? - cpu;
        let with_all = usage.memory()?.anonymous;
        fleet.close().await?;
        warm.close().await?;
        let each =
            |before: u64, count: usize| with_all.saturating_sub(before) as f64 / count as f64;
        Ok(vec![
            ("bytes_per_connection", "B", each(before, connections)),
            ("bytes_per_further_connection", "B", each(with_a_third, connections - third)),
            ("cpu_us_per_ping", "µs", micros(cpu, connections * ping_rounds)),
        ])
    }

    /// The CPU time of a message of 100 bytes to the server and back.
    async fn echo(&self, target: &Target, usage: Usage) -> Result<Values> {
        let each = self.options.echoes.div_ceil(TALKERS);
        let mut fleet = Fleet::connect(target, &keyring(), 0..TALKERS).await?;
        fleet.echo(each.div_ceil(10)).await?;
        let cpu = usage.cpu()?;
        fleet.echo(each).await?;
        let cpu = usage.cpu()? - cpu;
        fleet.close().await?;
        Ok(vec![("cpu_us_per_message", "µs", micros(cpu, each * TALKERS))])
    }

    async fn handshake(&self, target: &Target, usage: Usage) -> Result<Values> {
        Ok(vec![("cpu_us_per_handshake", "µs", self.handshake_cpu(target, usage).await?)])
    }

    /// The CPU time of a connection from accepted to closed, in µs.
    async fn handshake_cpu(&self, target: &Target, usage: Usage) -> Result<f64> {
        let keyring = keyring();
        let headers = |count: usize| {
            (0..count).map(|index| auth_header(&keyring, index)).collect::<Result<Vec<_>>>()
        };
        let count = self.options.handshakes;
        come_and_go(target, headers(WARM_UP)?).await?;
        let headers = headers(count)?;
        tokio::time::sleep(SETTLE).await;
        let cpu = usage.cpu()?;
        come_and_go(target, headers).await?;
        tokio::time::sleep(SETTLE).await;
        let cpu = usage.cpu()? - cpu;
        Ok(micros(cpu, count))
    }
}

fn over_tls(bench: Bench) -> bool {
    matches!(bench, Bench::IdleTls | Bench::HandshakeTls)
}

fn add(measurements: &mut Vec<Measurement>, bench: Bench, server: &'static str, values: Values) {
    for (metric, unit, value) in values {
        let known =
            measurements.iter_mut().find(|known| known.server == server && known.metric == metric);
        match known {
            Some(known) => known.values.push(value),
            None => {
                let (bench, values) = (bench.name(), vec![value]);
                measurements.push(Measurement { bench, server, metric, unit, values });
            }
        }
    }
}

fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}
