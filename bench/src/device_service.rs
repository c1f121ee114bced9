//! The device service as a process, with credentials to log in once.

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

/// The running service. It is killed when this is dropped.
pub(crate) struct DeviceService {
    pub(crate) child: Child,
    // Kept open, so that the service can go on writing.
    log: Lines<BufReader<ChildStderr>>,
}

impl DeviceService {
    /// Starts the service with credentials for the cloud at `url`, and with these lines in its
    /// configuration.
    pub(crate) fn start(
        env: &DeviceEnv,
        fedecksd: &Path,
        folder: &Path,
        url: &str,
        lines: &str,
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
                "url = {url:?}\ndevice_id = \"bench-device\"\ndata_dir = {data:?}\n\
                 provision_file = {credentials:?}\n{lines}\n"
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
    pub(crate) async fn await_login(&mut self) -> Result<()> {
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
    pub(crate) async fn await_watch(&self, env: &DeviceEnv, fedecksd: &Path) {
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
