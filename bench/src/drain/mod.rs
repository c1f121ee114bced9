//! A fleet of devices, for each of which messages wait in the store, takes them all at once. Meanwhile urgent messages
//! are queued for another device, and further ones ping.

pub(crate) mod devices;
mod probes;

use std::path::Path;

use fedecks_testing::cloud::keyring;
use tokio::time::{Instant, sleep};

use self::devices::DeviceProcess;
use self::probes::{Held, Pings, Urgent};
use crate::client::{Client, Target};
use crate::error::Result;
use crate::fleet::Fleet;
use crate::identity::auth_header;
use crate::process::Usage;
use crate::report::{Measurement, Report};
use crate::server::Kind;
use crate::setting::Setting;
use crate::waiting::{Waiting, WaitingCloud};

/// The messages that wait for each device, and their bytes.
const EACH: u64 = 2;
const PAYLOAD: usize = 2_000;

/// Processes with devices: one process may not open files for all of them.
const PROCESSES: usize = 4;

/// Devices that only ping.
const PINGING: usize = 20;

/// What all connections may have to send, in bytes: the default of the program.
const BUDGET: f64 = 64.0 * 1024.0 * 1024.0;

/// How long an urgent message, or a ping, may take in seconds.
const IN_TIME: f64 = 1.0;

/// All connections are accepted as they come.
const LINES: &str = "[limits]\naccepts_per_second = 1000000\naccept_burst = 1000000\n";

pub(crate) async fn measure(setting: &Setting<'_>, program: &Path) -> Result<Report> {
    let count = setting.options.drain;
    let waiting = Waiting { devices: 0..count, each: EACH, payload: PAYLOAD };
    let cloud = WaitingCloud::start(program, LINES, waiting).await?;
    let target = Target { kind: Kind::Fedecks, address: cloud.process.address, tls: None };
    let usage = Usage::of(cloud.process.pid())?;
    let token = cloud.process.token("bench", &["--role", "send"]).await;
    let api = cloud.process.http().token(&token).json();
    let mut processes = Vec::with_capacity(PROCESSES);
    let mut from = 0;
    for left in (1..=PROCESSES).rev() {
        let of_process = (count - from).div_ceil(left);
        processes.push(DeviceProcess::start(target.address, from, of_process, EACH)?);
        from += of_process;
    }
    for process in &mut processes {
        process.connected().await?;
    }
    let urgent = Client::connect(&target, count, &auth_header(&keyring(), count)?).await?;
    let mut urgent = Urgent::open(urgent, api, count).await?;
    let pinging = count + 1..count + 1 + PINGING;
    let mut pings = Pings::new(Fleet::connect(&target, &keyring(), pinging).await?.0);
    let mut held = Held::default();
    sleep(SETTLE).await;
    let memory_before = usage.memory()?.anonymous;
    for _ in 0..10 {
        urgent.one().await?;
    }
    let at_rest = urgent.take_worst();

    let delivered = cloud.delivered().await?;
    let (cpu, began) = (usage.cpu()?, Instant::now());
    for process in &mut processes {
        process.go().await?;
    }
    let mut done = tokio::select! {
        done = times(&mut processes) => done?,
        failed = held.watch(&cloud) => return Err(failed),
        failed = urgent.run() => return Err(failed),
        failed = pings.run() => return Err(failed),
    };
    let all = count as u64 * EACH;
    cloud.until_delivered(delivered + all as f64 + urgent.arrived() as f64).await?;
    let (ended, cpu) = (Instant::now(), usage.cpu()? - cpu);
    done.sort_by(f64::total_cmp);
    let seconds = (ended - began).as_secs_f64();
    let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
    let part = |times: &[f64], part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    };
    let (urgent, pings) = (urgent.sorted(), pings.sorted());
    let worst = [part(&urgent, 1.0), part(&pings, 1.0)];
    let measurements = vec![
        measurement("devices", "", count as f64),
        measurement("half_taken_after", "s", part(&done, 0.5)),
        measurement("all_stored_after", "s", seconds),
        measurement("taken_per_second", "1/s", all as f64 / seconds),
        measurement("cpu_us_per_device", "µs", cpu.as_secs_f64() * 1e6 / count as f64),
        measurement("held_most", "MiB", mib(held.most)),
        measurement("anonymous_before", "MiB", mib(memory_before as f64)),
        measurement("resident_peak", "MiB", mib(usage.peak_memory()? as f64)),
        measurement("urgent_sent", "", urgent.len() as f64),
        measurement("urgent_at_rest_worst", "ms", at_rest * 1e3),
        measurement("urgent_p50", "ms", part(&urgent, 0.5) * 1e3),
        measurement("urgent_worst", "ms", worst[0] * 1e3),
        measurement("ping_p50", "ms", part(&pings, 0.5) * 1e3),
        measurement("ping_worst", "ms", worst[1] * 1e3),
    ];
    let mut failures = Vec::new();
    if held.most > BUDGET {
        failures.push(format!("drain: the server held {} MiB", mib(held.most)));
    }
    for (what, took) in ["an urgent message", "a ping"].into_iter().zip(worst) {
        if took > IN_TIME {
            failures.push(format!("drain: {what} took {took:.1} s"));
        }
    }
    Ok(Report { measurements, failures })
}

/// When each device had its messages, in seconds.
async fn times(processes: &mut [DeviceProcess]) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for process in processes {
        times.extend(process.times().await?);
    }
    Ok(times)
}

/// How long the server is left alone before its memory is read.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(3);

fn measurement(metric: &'static str, unit: &'static str, value: f64) -> Measurement {
    Measurement { bench: "drain", server: "fedecks-cloud serve", metric, unit, values: vec![value] }
}
