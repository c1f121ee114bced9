//! Attacks on the real programs by clients and clouds that choose what costs the most, and whether the
//! programs stay within their memory and keep answering meanwhile.

mod bodies;
mod device;
mod fragments;
mod limits;
mod messages;
mod probe;
mod server;
mod strangers;
mod streams;

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::report::{Measurement, Report};
use crate::setting::Setting;
use limits::{DEVICE_CPU, DEVICE_MEMORY, LOG_BYTES_PER_SECOND, mib};
use server::{Attacked, Server};

/// Runs every attack on the server, each on a new one.
pub(crate) async fn attack_server(setting: &Setting<'_>, program: &Path) -> Result<Report> {
    let length = Duration::from_secs(setting.options.attack_seconds);
    let start = async |lines: &str| Server::start(program, lines).await;
    let mut report = Report::default();
    let server = start(&messages::silent_webhook().await?).await?;
    let attacked = server.under(messages::control_characters, length).await?;
    report.add_server("control-characters", attacked);
    let attacked = start("").await?.under(bodies::held_open, length).await?;
    report.add_server("bodies-held-open", attacked);
    let attacked = start("").await?.under(bodies::nested, length).await?;
    report.add_server("nested-bodies", attacked);
    let attacked = start("").await?.under(streams::taken, length).await?;
    report.add_server("event-streams", attacked);
    let attacked = start("").await?.under(streams::awkward_patterns, length).await?;
    report.add_server("awkward-patterns", attacked);
    let attacked = start("").await?.under(fragments::empty, length).await?;
    report.add_server("empty-fragments", attacked.with_cpu_limit(DEVICE_CPU));
    let attacked = start("").await?.under(fragments::unfinished, length).await?;
    report.add_server("unfinished-messages", attacked);
    let attacked = start("").await?.under(strangers::refused, length).await?;
    report.add_server("strangers", attacked.with_log_limit(LOG_BYTES_PER_SECOND));
    Ok(report)
}

/// Runs every attack on the device service.
pub(crate) async fn attack_device(setting: &Setting<'_>, fedecksd: &Path) -> Result<Report> {
    let mut report = Report::default();
    for attack in device::Attack::ALL {
        let name = attack.name();
        let grown = device::run(setting, fedecksd, attack).await;
        let grown = grown.map_err(|error| format!("hostile, {name}: {error}"))?;
        report.measurements.push(Measurement {
            bench: name,
            server: "fedecksd",
            metric: "memory_above_rest",
            unit: "MiB",
            values: vec![mib(grown)],
        });
        if grown > DEVICE_MEMORY {
            let (grown, limit) = (mib(grown), mib(DEVICE_MEMORY));
            report.failures.push(format!("{name}: {grown:.1} MiB above rest, limit {limit} MiB"));
        }
    }
    Ok(report)
}

impl Report {
    fn add_server(&mut self, name: &'static str, attacked: Attacked) {
        self.measurements.extend(attacked.measurements(name));
        let failures = attacked.failures().into_iter();
        self.failures.extend(failures.map(|failure| format!("{name}: {failure}")));
    }
}
