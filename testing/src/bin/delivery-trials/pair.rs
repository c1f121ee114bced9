//! The programs of a trial: a server, a relay in front of it, and a device service on a bus that only it has.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::http::Http;
use fedecks_testing::tcp_relay::TcpRelay;
use fedecks_testing::wait::until;
use fedecks_testing::{PASSWORD, USER};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::partition::{Partition, copy, empty};

/// The device's id.
pub(crate) const DEVICE: &str = "trial";

/// A short heartbeat, so that both ends notice soon that a connection is silent. A device whose data was wiped logs in
/// again, however often.
const CLOUD: &str =
    "[sessions]\nheartbeat = \"1s\"\nidle_timeout = \"3s\"\n[registration]\nmay_reregister = true";

/// The running programs. They are killed when this is dropped.
pub(crate) struct Pair {
    pub(crate) cloud: CloudProcess,
    pub(crate) relay: Arc<TcpRelay>,
    pub(crate) api: Http,
    pub(crate) command: FedecksCommand,
    /// Unless the data directory is in a folder of this machine.
    pub(crate) partition: Option<Arc<Partition>>,
    token: String,
    device: Child,
    fedecksd: PathBuf,
    /// How many backups of the store there are.
    backups: u32,
    /// How many devices with a copy of the data there were.
    copies: u32,
    _bus: Child,
    // Removed when nothing uses it any more.
    folder: TempDir,
}

/// A second device with the same identity and a copy of the data. It is killed when this is dropped.
pub(crate) struct SecondDevice {
    device: Child,
    log: PathBuf,
    _bus: Child,
}

impl SecondDevice {
    /// Ends it, as a power cut would.
    pub(crate) async fn kill(&mut self) {
        let ended = self.device.try_wait().unwrap();
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        assert!(ended.is_none(), "the second fedecksd ended with {ended:?}:\n{log}");
        self.device.kill().await.unwrap();
    }
}

/// The command `fedecks` on a pair's bus.
#[derive(Clone)]
pub(crate) struct FedecksCommand {
    program: PathBuf,
    bus: String,
}

impl Pair {
    /// Programs from this folder, with a data partition or without one. Returns when the device is connected and has stored
    /// its token.
    pub(crate) async fn start(programs: &Path, has_partition: bool) -> Self {
        let cloud = CloudProcess::start(programs.join("fedecks-cloud"), CLOUD).await;
        let token = cloud.token("trials", &["--role", "read", "--role", "send"]).await;
        let relay = Arc::new(TcpRelay::start(cloud.address).await);
        let folder = tempfile::tempdir().unwrap();
        let (daemon, bus) = start_bus(folder.path()).await;
        let command = FedecksCommand { program: programs.join("fedecks"), bus };
        let partition = if has_partition {
            Some(Arc::new(Partition::create(folder.path().join("partition")).await))
        } else {
            fs::create_dir(folder.path().join("data")).unwrap();
            None
        };
        let data = data(folder.path(), partition.as_deref());
        configure(folder.path(), &data, &relay);
        provide_credentials(folder.path());
        let fedecksd = programs.join("fedecksd");
        let device = start_service(&fedecksd, folder.path(), &command.bus);
        let api = cloud.http().token(&token).json();
        let (backups, copies, _bus) = (0, 0, daemon);
        let pair = Self {
            cloud,
            relay,
            api,
            command,
            partition,
            token,
            device,
            fedecksd,
            backups,
            copies,
            _bus,
            folder,
        };
        let arguments = ["status", "--wait", "connected", "--timeout", "20s"];
        let status = pair.command.with(arguments).status().await.unwrap();
        assert!(status.success(), "the device has not connected:\n{}", pair.device_log());
        until(async || data.join("token").exists().then_some(())).await;
        pair
    }

    /// Kills the device service as a crash would.
    pub(crate) async fn kill_device(&mut self) {
        let ended = self.device.try_wait().unwrap();
        assert!(ended.is_none(), "fedecksd ended with {ended:?}:\n{}", self.device_log());
        self.device.kill().await.unwrap();
    }

    /// Starts the device service again.
    pub(crate) fn start_device(&mut self) {
        self.device = start_service(&self.fedecksd, self.folder.path(), &self.command.bus);
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        data(self.folder.path(), self.partition.as_deref())
    }

    /// The copy of the data directory that was made last.
    pub(crate) fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    /// Copies the data directory of the service, which is away, in place of an earlier copy.
    pub(crate) async fn back_up_data(&self) {
        if self.backup().exists() {
            fs::remove_dir_all(self.backup()).unwrap();
        }
        copy(&self.data(), &self.backup()).await;
    }

    /// Empties the data directory of the service, which is away. The next start logs in again.
    pub(crate) fn wipe_data(&self) {
        empty(&self.data());
        provide_credentials(self.folder.path());
    }

    /// Replaces the data directory of the service, which is away, by the copy that was made last.
    pub(crate) async fn restore_data(&self) {
        empty(&self.data());
        copy(&self.backup().join("."), &self.data()).await;
        // The service had logged in again, and not stored its token yet, when it was copied.
        if !self.data().join("token").exists() {
            provide_credentials(self.folder.path());
        }
    }

    /// A second device with what the data directory contains now, before it is started.
    pub(crate) async fn copy_data(&mut self) -> PathBuf {
        self.copies += 1;
        let folder = self.folder.path().join(format!("copy-{}", self.copies));
        fs::create_dir(&folder).unwrap();
        copy(&self.data(), &folder.join("data")).await;
        folder
    }

    /// Starts a second device in this folder.
    pub(crate) async fn start_second(&self, folder: &Path) -> SecondDevice {
        configure(folder, &folder.join("data"), &self.relay);
        let (daemon, bus) = start_bus(folder).await;
        let device = start_service(&self.fedecksd, folder, &bus);
        SecondDevice { device, log: folder.join("log"), _bus: daemon }
    }

    /// Makes a backup of the store, while the server runs.
    pub(crate) async fn back_up_store(&mut self) {
        self.backups += 1;
        self.cloud.program.run(&["backup", &self.store_backup()], "").await;
    }

    /// Replaces the store of the server, which is away, by the newest backup.
    pub(crate) async fn restore_store(&self) {
        self.cloud.program.run(&["restore", &self.store_backup()], "").await;
    }

    fn store_backup(&self) -> String {
        format!("backup-{}.sqlite", self.backups)
    }

    /// The server's API at this address.
    pub(crate) fn api_at(&self, address: SocketAddr) -> Http {
        Http::to(address).token(&self.token).json()
    }

    /// What the device service has logged.
    pub(crate) fn device_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl FedecksCommand {
    /// With these arguments. It is killed when its handle is dropped.
    pub(crate) fn with<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// A bus of the user who runs the trials.
async fn start_bus(folder: &Path) -> (Child, String) {
    let socket = folder.join("bus");
    let address = format!("unix:path={}", socket.display());
    let configuration = folder.join("bus.conf");
    let text = format!(
        "<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
         <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>"
    );
    fs::write(&configuration, text).unwrap();
    let mut command = Command::new("dbus-daemon");
    command.arg("--config-file").arg(&configuration).args(["--nofork", "--nopidfile"]);
    let daemon = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("dbus-daemon");
    until(async || socket.exists().then_some(())).await;
    (daemon, address)
}

fn data(folder: &Path, partition: Option<&Partition>) -> PathBuf {
    partition.map_or_else(|| folder.join("data"), Partition::data)
}

fn credentials(folder: &Path) -> PathBuf {
    folder.join("credentials.toml")
}

/// Has the service log in, unless it has a token.
fn provide_credentials(folder: &Path) {
    let file = credentials(folder);
    fs::write(&file, format!("username = {USER:?}\npassword = {PASSWORD:?}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn configure(folder: &Path, data: &Path, relay: &TcpRelay) {
    let credentials = credentials(folder);
    let text = format!(
        "url = \"ws://{}\"\ndevice_id = {DEVICE:?}\ndata_dir = {data:?}\nprovision_file = {credentials:?}\n\
         backoff_base = \"50ms\"\nbackoff_cap = \"500ms\"\nnetwork = \"none\"\n",
        relay.address
    );
    fs::write(folder.join("fedecks.toml"), text).unwrap();
}

fn start_service(program: &Path, folder: &Path, bus: &str) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(folder.join("fedecks.toml"))
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
