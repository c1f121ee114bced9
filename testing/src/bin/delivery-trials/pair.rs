//! The programs of a trial: a server, a relay in front of it, and a device service on a bus that only it has.

use std::ffi::OsStr;
use std::fs::{self, File};
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

/// The device's id.
pub(crate) const DEVICE: &str = "trial";

/// A short heartbeat, so that both ends notice soon that a connection is silent.
const CLOUD: &str = "[sessions]\nheartbeat = \"1s\"\nidle_timeout = \"3s\"";

/// The running programs. They are killed when this is dropped.
pub(crate) struct Pair {
    pub(crate) cloud: CloudProcess,
    pub(crate) relay: Arc<TcpRelay>,
    pub(crate) api: Http,
    pub(crate) command: FedecksCommand,
    device: Child,
    fedecksd: PathBuf,
    folder: TempDir,
    _bus: Child,
}

/// The command `fedecks` on a pair's bus.
#[derive(Clone)]
pub(crate) struct FedecksCommand {
    program: PathBuf,
    bus: String,
}

impl Pair {
    /// Programs from this folder. Returns when the device is connected.
    pub(crate) async fn start(programs: &Path) -> Self {
        let cloud = CloudProcess::start(programs.join("fedecks-cloud"), CLOUD).await;
        let token = cloud.token("trials", &["--role", "read", "--role", "send"]).await;
        let relay = Arc::new(TcpRelay::start(cloud.address).await);
        let folder = tempfile::tempdir().unwrap();
        let (daemon, bus) = start_bus(folder.path()).await;
        let command = FedecksCommand { program: programs.join("fedecks"), bus };
        configure(folder.path(), &relay);
        let fedecksd = programs.join("fedecksd");
        let device = start_service(&fedecksd, folder.path(), &command.bus);
        let api = cloud.http().token(&token).json();
        let pair = Self { cloud, relay, api, command, device, fedecksd, folder, _bus: daemon };
        let arguments = ["status", "--wait", "connected", "--timeout", "20s"];
        let status = pair.command.with(arguments).status().await.unwrap();
        assert!(status.success(), "the device has not connected:\n{}", pair.device_log());
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

fn configure(folder: &Path, relay: &TcpRelay) {
    let (data, credentials) = (folder.join("data"), folder.join("credentials.toml"));
    fs::create_dir(&data).unwrap();
    fs::write(&credentials, format!("username = {USER:?}\npassword = {PASSWORD:?}\n")).unwrap();
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).unwrap();
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
