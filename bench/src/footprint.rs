//! The memory and the wake-ups of the idle device service.

use std::path::Path;
use std::time::Duration;

use crate::device_env::DeviceEnv;
use crate::device_service::DeviceService;
use crate::error::Result;
use crate::process::Usage;
use crate::report::Measurement;
use crate::server::Kind;
use crate::setting::Setting;
use crate::tickets::HOST;

/// After this time without activity the service counts as idle: its threads for blocking work end
/// after 10 s.
const REST: Duration = Duration::from_secs(12);

/// The interval at which the cloud asks for pings by default.
const PING_INTERVAL: Duration = Duration::from_secs(19);

/// The device service: the size of its program, its memory while it is connected over TLS and idle,
/// with D-Bus, NetworkManager and a watchdog of 60 s, and how often it wakes up then.
pub(crate) async fn measure(setting: &Setting<'_>, fedecksd: &Path) -> Result<Vec<Measurement>> {
    let size = std::fs::metadata(fedecksd)
        .map_err(|error| format!("cannot find {}: {error}", fedecksd.display()))?
        .len();
    let mut resident = Vec::new();
    let mut anonymous = Vec::new();
    let mut wakeups = Vec::new();
    for turn in 0..setting.options.repeats {
        let run = run(setting, fedecksd, turn == 0);
        let rest = run.await.map_err(|error| format!("footprint, fedecksd: {error}"))?;
        resident.push(rest.resident as f64);
        anonymous.push(rest.anonymous as f64);
        wakeups.extend(rest.wakeups_per_interval);
    }
    let measurement = |metric, unit, values| Measurement {
        bench: "footprint",
        server: "fedecksd",
        metric,
        unit,
        values,
    };
    Ok(vec![
        measurement("binary_bytes", "B", vec![size as f64]),
        measurement("resident_bytes", "B", resident),
        measurement("anonymous_bytes", "B", anonymous),
        measurement("wakeups_per_ping_interval", "", wakeups),
    ])
}

struct Rest {
    resident: u64,
    anonymous: u64,
    wakeups_per_interval: Option<f64>,
}

async fn run(setting: &Setting<'_>, fedecksd: &Path, count_wakeups: bool) -> Result<Rest> {
    let folder = tempfile::tempdir_in(setting.folder.path())?;
    let (server, target) =
        setting.start(Kind::Fedecks, Some(&setting.certificate), folder.path()).await?;
    let env = DeviceEnv::start(folder.path()).await?;
    let url = format!("wss://{HOST}:{}", target.address.port());
    let authority = format!("ca_file = {:?}", setting.certificate.chain);
    let mut service = DeviceService::start(&env, fedecksd, folder.path(), &url, &authority)?;
    service.await_login().await?;
    service.await_watch(&env, fedecksd).await;
    tokio::time::sleep(REST).await;
    let usage = Usage::of(service.child.id().ok_or("the service ended at once")?)?;
    let mut wakeups_per_interval = None;
    if count_wakeups {
        let intervals = setting.options.rest_intervals;
        let before = usage.voluntary_switches()?;
        tokio::time::sleep(PING_INTERVAL * intervals).await;
        let counted = usage.voluntary_switches()? - before;
        wakeups_per_interval = Some(counted as f64 / f64::from(intervals));
    }
    let memory = usage.memory()?;
    service.child.kill().await?;
    server.stop().await?;
    Ok(Rest { resident: memory.resident, anonymous: memory.anonymous, wakeups_per_interval })
}
