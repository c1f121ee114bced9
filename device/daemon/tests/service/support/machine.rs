//! A booted systemd: systemd-nspawn over this machine's /usr, with the shipped files installed like in an image.
//! It shares this machine's network, so that it reaches the test's cloud on the loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::fedecksd::DEVICE;
use super::{PASSWORD, PATIENCE, USER, fedecks, has_programs, is_root, skip, within};

/// Where an image has the shipped files; docs/device.md says the same.
const INSTALLED: [(&str, &str); 4] = [
    ("fedecksd.service", "lib/systemd/system/fedecksd.service"),
    ("fedecks.sysusers.conf", "lib/sysusers.d/fedecks.conf"),
    ("fedecks.tmpfiles.conf", "lib/tmpfiles.d/fedecks.conf"),
    ("org.fedecks.Device1.conf", "share/dbus-1/system.d/org.fedecks.Device1.conf"),
];

const PROGRAMS: [(&str, &str); 5] = [
    ("systemd-nspawn", "systemd-container"),
    ("nsenter", "util-linux"),
    ("systemctl", "systemd"),
    ("dbus-daemon", "dbus-daemon"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// Where control groups are: of version 2 alone, or of both versions.
const CGROUPS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

/// A booted machine; fedecksd is not started yet. Dropping it is a power cut.
pub(crate) struct Machine {
    // Dropped before its folder.
    _power: Power,
    init: Pid,
    folder: TempDir,
}

/// The process of a machine, even one that does not finish booting.
struct Power {
    name: String,
    nspawn: Child,
}

impl Machine {
    /// A machine for the cloud at `ws://address`, with its data in `data_dir`. None, and the test is skipped, if none can boot.
    pub(crate) async fn boot(address: SocketAddr, data_dir: &str) -> Option<Self> {
        if !is_root() || !has_programs(&PROGRAMS) {
            return None;
        }
        if !Path::new("/bin").is_symlink() {
            skip("/bin is not in /usr");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fedecks-test-{}-{number}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        install(folder.path(), &format!("ws://{address}"), data_dir);

        let nspawn = nspawn(&name, folder.path());
        let mut power = Power { name, nspawn };
        let Some(init) = within(power.booted()).await else {
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            skip(&format!("systemd-nspawn cannot boot a machine here: {log}"));
            return None;
        };
        Some(Self { _power: power, init, folder })
    }

    /// Runs a command, which must succeed, and returns its output.
    pub(crate) async fn run(&self, words: &[&str]) -> String {
        self.succeeds(within(enter(self.init, words)).await).await
    }

    async fn succeeds(&self, output: Output) -> String {
        if !output.status.success() {
            panic!("{output:?}; the machine's log:\n{}", self.log().await);
        }
        text(&output)
    }

    /// Repeats `check` until it returns a value.
    async fn until<T>(&self, what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = check().await {
                    return found;
                }
                pause().await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("timed out: {what}; the machine's log:\n{}", self.log().await),
        }
    }

    async fn until_succeeds(&self, words: &[&str]) {
        let check = async || enter(self.init, words).await.status.success().then_some(());
        self.until(&words.join(" "), check).await;
    }

    /// A process in the machine with an open standard input.
    pub(crate) fn start(&self, words: &[&str]) -> Child {
        let mut command = entered(self.init, words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Logs the device in. Returns when the token is on disk, or cannot be written.
    pub(crate) async fn log_in(&self) {
        let output = within(self.begin_login().await.wait_with_output()).await.unwrap();
        self.succeeds(output).await;
    }

    /// The same, without waiting for the end.
    pub(crate) async fn begin_login(&self) -> Child {
        // The service is ready before it is on the bus.
        self.until_succeeds(&["fedecks", "status"]).await;
        let mut login = self.start(&["fedecks", "login", "--stdin"]);
        let credentials = format!(r#"{{"username":"{USER}","password":"{PASSWORD}"}}"#);
        login.stdin.take().unwrap().write_all(credentials.as_bytes()).await.unwrap();
        login
    }

    /// Waits until `is_right` for a property of `systemctl show fedecksd`, and returns it.
    pub(crate) async fn service(&self, property: &str, is_right: impl Fn(&str) -> bool) -> String {
        let words = ["systemctl", "show", "--value", "--property", property, "fedecksd"];
        let mut last = String::new();
        let check = async || {
            last = self.run(&words).await.trim().to_owned();
            is_right(&last).then(|| last.clone())
        };
        self.until(property, check).await
    }

    /// Waits until a property is `value`.
    pub(crate) async fn service_is(&self, property: &str, value: &str) {
        self.service(property, |it| it == value).await;
    }

    /// The process id of the running service.
    pub(crate) async fn process(&self) -> String {
        self.service("MainPID", |process| process != "0").await
    }

    /// Waits until the file exists.
    pub(crate) async fn has(&self, file: &str) {
        self.until_succeeds(&["test", "-e", file]).await;
    }

    /// The output of `fedecks status --json`.
    pub(crate) async fn health(&self) -> String {
        self.run(&["fedecks", "status", "--json"]).await
    }

    /// Adds lines to the service's section of the unit.
    pub(crate) async fn drop_in(&self, lines: &str) {
        let folder = self.path("run/systemd/system/fedecksd.service.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("test.conf"), format!("[Service]\n{lines}\n")).unwrap();
        self.run(&["systemctl", "daemon-reload"]).await;
    }

    /// The path outside of a path in the machine.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.init)).join(inside.trim_start_matches('/'))
    }

    /// A folder that the machine does not see.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn log(&self) -> String {
        let words = ["journalctl", "--no-pager", "--output=cat", "--lines=40"];
        text(&within(enter(self.init, &words)).await)
    }
}

impl Power {
    /// The machine's first process when it has booted; none if it ended before.
    async fn booted(&mut self) -> Option<Pid> {
        loop {
            if self.nspawn.try_wait().unwrap().is_some() {
                return None;
            }
            if let Some(init) = self.init() {
                let state = enter(init, &["systemctl", "is-system-running"]).await;
                if matches!(text(&state).trim(), "running" | "degraded") {
                    return Some(init);
                }
            }
            pause().await;
        }
    }

    /// The child of systemd-nspawn that is the first process of its namespace. At first there are others.
    fn init(&self) -> Option<Pid> {
        let nspawn = self.nspawn.id()?;
        let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        let is_first = |child: &&str| {
            fs::read_to_string(format!("/proc/{child}/status")).is_ok_and(|status| {
                status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
            })
        };
        children.split_whitespace().find(is_first)?.parse().ok().map(Pid::from_raw)
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        // The kernel kills the others with the first process, and systemd-nspawn ends.
        if let Some(init) = self.init() {
            let _ = kill(init, Signal::SIGKILL);
        } else {
            let _ = self.nspawn.start_kill();
        }
        while matches!(self.nspawn.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        for place in CGROUPS {
            remove_cgroup(&Path::new(place).join(&self.name));
        }
        let _ = fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(&self.name));
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Creates the machine's root, and the files that are overlaid over this machine's /usr.
fn install(folder: &Path, url: &str, data_dir: &str) {
    let script = "set -e
        cd \"$0\"
        for name in usr etc/fedecks etc/systemd/system var run tmp proc sys dev; do
            mkdir -p root/$name
        done
        for name in bin sbin lib lib32 lib64 libx32; do
            [ ! -L /$name ] || cp -P /$name root/
        done
        for name in passwd group nsswitch.conf ld.so.cache os-release; do
            cp -L /etc/$name root/etc/
        done
        echo 0123456789abcdef0123456789abcdef >root/etc/machine-id
        mkdir -p usr/bin
        touch usr/bin/fedecksd usr/bin/fedecks
        echo \"$1\" >root/etc/fedecks/fedecks.toml";
    let configuration = format!(
        "url = {url:?}\ndevice_id = {DEVICE:?}\ndata_dir = {data_dir:?}\nbackoff_cap = \"1s\""
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]).arg(folder).arg(configuration);
    assert!(command.status().unwrap().success());
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
    for (file, place) in INSTALLED {
        let place = folder.join("usr").join(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(shipped.join(file), place).unwrap();
    }
}

fn nspawn(name: &str, folder: &Path) -> Child {
    // In separate control groups: without a systemd outside it would use the root ones.
    let script = "name=$1; shift; for place; do \
        if [ \"$place\" = -- ]; then shift; break; fi; shift; \
        if [ -e \"$place/cgroup.procs\" ]; then \
        mkdir \"$place/$name\" && echo $$ > \"$place/$name/cgroup.procs\" || exit 1; fi; done; \
        exec \"$@\"";
    let log = fs::File::create(folder.join("log")).unwrap();
    let folder = folder.display();
    Command::new("sh")
        .args(["-c", script, "sh", name])
        .args(CGROUPS)
        .args(["--", "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"])
        .args(["--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe"])
        .arg(format!("--machine={name}"))
        .arg(format!("--directory={folder}/root"))
        .arg(format!("--overlay-ro=/usr:{folder}/usr:/usr"))
        .arg(format!("--bind-ro={}:/usr/bin/fedecksd", env!("CARGO_BIN_EXE_fedecksd")))
        .arg(format!("--bind-ro={}:/usr/bin/fedecks", fedecks().display()))
        .arg("systemd.unit=basic.target")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Only the folders of a control group can be removed; its files go with them.
fn remove_cgroup(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn entered(init: Pid, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--target={init}"))
        .args(["--mount", "--uts", "--ipc", "--pid", "--"])
        .args(words)
        .stdin(Stdio::null())
        // The variables of the tests are not the machine's.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .kill_on_drop(true);
    command
}

async fn enter(init: Pid, words: &[&str]) -> Output {
    entered(init, words).output().await.unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
