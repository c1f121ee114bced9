//! The memory and the wake-ups of the idle device service.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fedecks_testing::wait::{until_every, within};
use fedecks_testing::{PASSWORD, USER};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::device_env::{DeviceEnv, WATCHDOG_USEC};
use crate::error::Result;
use crate::identity::HOST;
use crate::process::Usage;
use crate::report::Measurement;
use crate::server::Kind;
use crate::setting::Setting;

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
    let mut service =
        Service::start(setting, &env, fedecksd, folder.path(), target.address.port())?;
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

struct Service {
    child: Child,
    // Kept open, so that the service can go on writing.
    log: Lines<BufReader<ChildStderr>>,
}

impl Service {
    /// Starts the service with credentials.
    fn start(
        setting: &Setting<'_>,
        env: &DeviceEnv,
        fedecksd: &Path,
        folder: &Path,
        port: u16,
    ) -> Result<Self> {
        let data = folder.join("device");
        std::fs::create_dir(&data)?;
        let credentials = folder.join("credentials.toml");
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&credentials)?
            .write_all(format!("username = {USER:?}\npassword = {PASSWORD:?}\n").as_bytes())?;
        let configuration = folder.join("fedecks.toml");
        std::fs::write(
            &configuration,
            format!(
                "url = \"wss://{HOST}:{port}\"\ndevice_id = \"bench-device\"\ndata_dir = {data:?}\n\
                 ca_file = {:?}\nprovision_file = {credentials:?}\n",
                setting.certificate.chain
            ),
        )?;
        let mut child = Command::new(fedecksd)
            .arg("--config")
            .arg(&configuration)
            .env("DBUS_SYSTEM_BUS_ADDRESS", &env.bus)
            .env("NOTIFY_SOCKET", &env.notify_socket)
            .env("WATCHDOG_USEC", WATCHDOG_USEC)
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = child.stderr.take().ok_or("the service has no standard error")?;
        Ok(Self { child, log: BufReader::new(log).lines() })
    }

    /// Reads the service's log until it reports the login, which needs a connection.
    async fn await_login(&mut self) -> Result<()> {
        within(async {
            let mut last = String::new();
            while let Some(line) = self.log.next_line().await? {
                if line.contains("logged in") {
                    return Ok(());
                }
                last = line;
            }
            Err(format!("the service ended: {last}").into())
        })
        .await
    }

    /// Waits until the service reports, through NetworkManager, that the network is up.
    async fn await_watch(&self, env: &DeviceEnv, fedecksd: &Path) {
        if !env.has_network_manager {
            return;
        }
        let command = fedecksd.with_file_name("fedecks");
        until_every(Duration::from_millis(100), async || {
            let asked = Command::new(&command)
                .args(["status", "--json"])
                .env("DBUS_SYSTEM_BUS_ADDRESS", &env.bus)
                .output();
            let output = asked.await.ok()?;
            let health: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            let is_up = health["network_source"] == "network-manager" && health["network"] == "up";
            is_up.then_some(())
        })
        .await;
    }
}
