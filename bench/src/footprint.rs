use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::Result;
use crate::identity::{HOST, PASSWORD, USER};
use crate::process::Usage;
use crate::report::Measurement;
use crate::runs::Setting;
use crate::server::Kind;

/// How long the service may take until it is connected.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the service is left alone before its memory counts as that at rest.
const REST: Duration = Duration::from_secs(3);

/// The device service: how big its program is, and its memory while it is connected over TLS.
pub(crate) async fn measure(setting: &Setting<'_>, fedecksd: &Path) -> Result<Vec<Measurement>> {
    let (bench, server) = ("footprint", "fedecksd");
    let size = std::fs::metadata(fedecksd)
        .map_err(|error| format!("cannot look at {}: {error}", fedecksd.display()))?
        .len();
    let mut resident = Vec::new();
    let mut anonymous = Vec::new();
    for _ in 0..setting.options.repeats {
        let folder = tempfile::tempdir_in(setting.folder.path())?;
        let (server, target) =
            setting.start(Kind::Fedecks, Some(&setting.certificate), folder.path()).await?;
        let run = connected(setting, fedecksd, folder.path(), target.address.port());
        let (all, own) = run.await.map_err(|error| format!("footprint, fedecksd: {error}"))?;
        resident.push(all as f64);
        anonymous.push(own as f64);
        server.stop().await?;
    }
    let measurement = |metric, values| Measurement { bench, server, metric, unit: "B", values };
    Ok(vec![
        measurement("binary_bytes", vec![size as f64]),
        measurement("resident_bytes", resident),
        measurement("anonymous_bytes", anonymous),
    ])
}

/// Starts the service with credentials, and measures it when it has logged in and come to rest.
async fn connected(
    setting: &Setting<'_>,
    fedecksd: &Path,
    folder: &Path,
    port: u16,
) -> Result<(u64, u64)> {
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
             ca_file = {:?}\ncredentials_file = {credentials:?}\n",
            setting.certificate.chain
        ),
    )?;
    let mut service = Command::new(fedecksd)
        .arg("--config")
        .arg(&configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let log = service.stderr.take().ok_or("the service has no standard error")?;
    // Kept open: what the service still writes must go somewhere.
    let mut log = BufReader::new(log).lines();
    timeout(PATIENCE, logged_in(&mut log)).await.map_err(|_| "was not connected in time")??;
    tokio::time::sleep(REST).await;
    let memory = usage(&service)?.memory()?;
    service.kill().await?;
    Ok((memory.resident, memory.anonymous))
}

/// Reads the service's log until it says that it is logged in, which takes a connection.
async fn logged_in(lines: &mut Lines<BufReader<ChildStderr>>) -> Result<()> {
    let mut last = String::new();
    while let Some(line) = lines.next_line().await? {
        if line.contains("logged in") {
            return Ok(());
        }
        last = line;
    }
    Err(format!("the service ended: {last}").into())
}

fn usage(service: &Child) -> Result<Usage> {
    Usage::of(service.id().ok_or("the service ended as soon as it was connected")?)
}
