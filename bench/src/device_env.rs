//! What the device service finds on a device: a system bus, NetworkManager, and systemd's watchdog.

use std::path::Path;
use std::process::Stdio;

use fedecks_testing::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

use crate::error::Result;

/// What the device service finds on a device: a system bus, NetworkManager on it, and systemd with
/// its watchdog. They end when this is dropped.
pub(crate) struct DeviceEnv {
    pub(crate) bus: String,
    pub(crate) notify_socket: std::path::PathBuf,
    pub(crate) has_network_manager: bool,
    dbus_daemon: Child,
    _network_manager: Option<Child>,
}

/// systemd's watchdog interval, in microseconds.
pub(crate) const WATCHDOG_USEC: &str = "60000000";

impl DeviceEnv {
    /// NetworkManager runs in a separate network namespace, which needs root; without root it is
    /// left out.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let socket = folder.join("bus");
        let bus = format!("unix:path={}", socket.display());
        let configuration = folder.join("bus.conf");
        std::fs::write(
            &configuration,
            format!(
                "<busconfig><type>system</type><listen>{bus}</listen><auth>EXTERNAL</auth>\
                 <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
                 <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>"
            ),
        )?;
        let mut daemon = Command::new("dbus-daemon");
        daemon.arg("--config-file").arg(&configuration).args(["--nofork", "--nopidfile"]);
        let dbus_daemon = spawn(&mut daemon, "dbus-daemon")?;
        until(async || socket.exists().then_some(())).await;
        let has_network_manager = geteuid().is_root();
        let network_manager =
            if has_network_manager { Some(network_manager(folder, &bus)?) } else { None };
        let notify_socket = folder.join("notify");
        listen(UnixDatagram::bind(&notify_socket)?);
        let _network_manager = network_manager;
        Ok(Self { bus, notify_socket, has_network_manager, dbus_daemon, _network_manager })
    }

    /// Stops the bus, which then accepts what fits into the sockets' buffers and passes nothing on.
    pub(crate) fn stop_bus(&self) -> Result<()> {
        let pid = self.dbus_daemon.id().ok_or("dbus-daemon has ended")?;
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGSTOP)?)
    }
}

/// Reads every notification, as systemd does; a full socket would block the service.
fn listen(socket: UnixDatagram) {
    tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while socket.recv(&mut buffer).await.is_ok() {}
    });
}

fn network_manager(folder: &Path, bus: &str) -> Result<Child> {
    for name in ["etc/system-connections", "lib"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    std::fs::write(folder.join("etc/NetworkManager.conf"), CONFIGURATION)?;
    let connection = folder.join("etc/system-connections/lan.nmconnection");
    std::fs::write(&connection, CONNECTION)?;
    std::fs::set_permissions(&connection, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--propagation", "private", "sh", "-euc", NAMESPACE, "sh"])
        .arg(folder)
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus);
    spawn(&mut command, "unshare")
}

fn spawn(command: &mut Command, name: &str) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {name}: {error}").into())
}

const NAMESPACE: &str = "
mount -t sysfs -o ro sysfs /sys
mount --bind \"$1/etc\" /etc/NetworkManager
mount --bind \"$1/lib\" /var/lib/NetworkManager
mount -t tmpfs tmpfs /run
mkdir -p /run/NetworkManager /run/udev/data
ip link set lo up
ip link add veth0 type veth peer name peer0
ip link set peer0 up
exec NetworkManager --no-daemon
";

const CONFIGURATION: &str = "\
[main]
plugins=keyfile
no-auto-default=*
auth-polkit=false
hostname-mode=none
dns=none
rc-manager=unmanaged
systemd-resolved=false
[connectivity]
enabled=false
[keyfile]
unmanaged-devices=except:interface-name:veth0
";

const CONNECTION: &str = "\
[connection]
id=lan
uuid=b8a6f3f2-6f0c-4d5e-9c57-0d1d6a2f7d10
type=ethernet
interface-name=veth0
[ipv4]
method=manual
address1=192.0.2.2/24,192.0.2.1
[ipv6]
method=disabled
";
