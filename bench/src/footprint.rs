//! The memory and the wake-ups of the device service at rest.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::board::{Board, WATCHDOG_USEC, until};
use crate::error::Result;
use crate::identity::{HOST, PASSWORD, USER};
use crate::process::Usage;
use crate::report::Measurement;
use crate::server::Kind;
use crate::setting::Setting;

/// How long the service may take until it is connected.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the service is left alone before it counts as at rest: its threads for blocking work end
/// after 10 s without any.
const REST: Duration = Duration::from_secs(12);

/// How often the cloud asks to be pinged where nothing else is configured.
const PING_INTERVAL: Duration = Duration::from_secs(19);

/// The device service: how big its program is, its memory while it is connected over TLS and at rest,
/// with D-Bus, NetworkManager and a watchdog of 60 s, and how often it wakes up then.
pub(crate) async fn measure(setting: &Setting<'_>, fedecksd: &Path) -> Result<Vec<Measurement>> {
    let size = std::fs::metadata(fedecksd)
        .map_err(|error| format!("cannot look at {}: {error}", fedecksd.display()))?
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
    let board = Board::start(folder.path()).await?;
    let mut service =
        Service::start(setting, &board, fedecksd, folder.path(), target.address.port())?;
    service.await_login().await?;
    service.await_watch(&board, fedecksd).await?;
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
    // Kept open: what the service still writes must go somewhere.
    log: Lines<BufReader<ChildStderr>>,
}

impl Service {
    /// Starts the service with credentials.
    fn start(
        setting: &Setting<'_>,
        board: &Board,
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
            .env("DBUS_SYSTEM_BUS_ADDRESS", &board.bus)
            .env("NOTIFY_SOCKET", &board.notify_socket)
            .env("WATCHDOG_USEC", WATCHDOG_USEC)
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = child.stderr.take().ok_or("the service has no standard error")?;
        Ok(Self { child, log: BufReader::new(log).lines() })
    }

    /// Reads the service's log until it says that it is logged in, which takes a connection.
    async fn await_login(&mut self) -> Result<()> {
        let logged_in = async {
            let mut last = String::new();
            while let Some(line) = self.log.next_line().await? {
                if line.contains("logged in") {
                    return Ok(());
                }
                last = line;
            }
            Err(format!("the service ended: {last}").into())
        };
        timeout(PATIENCE, logged_in).await.map_err(|_| "was not connected in time")?
    }

    /// Waits until the service watches the network by NetworkManager, which says that it is up.
    async fn await_watch(&self, board: &Board, fedecksd: &Path) -> Result<()> {
        if !board.has_network_manager {
            return Ok(());
        }
        let command = fedecksd.with_file_name("fedecks");
        until(async || {
            let asked = Command::new(&command)
                .args(["status", "--json"])
                .env("DBUS_SYSTEM_BUS_ADDRESS", &board.bus)
                .output();
            let output = asked.await.ok()?;
            let health: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            let is_up = health["network_source"] == "network-manager" && health["network"] == "up";
            is_up.then_some(())
        })
        .await
        .map_err(|_| "the service did not find NetworkManager up in time".into())
    }
}
