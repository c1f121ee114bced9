//! Failures of the data partition, under the shipped unit in a booted systemd: the service keeps running,
//! reports them, and stores the token as soon as it can.

use std::process::Command;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::support::machine::Machine;
use crate::support::{By, Cloud, Seen, cloud, skip, within};

const DATA: &str = "/data/fedecks";
const TOKEN: &str = "/data/fedecks/token";
/// Shorter than in the shipped unit, so that a missing notification shows in a test.
const WATCHDOG: &str = "WatchdogSec=2s";

struct Scene {
    cloud: Cloud,
    machine: Machine,
    process: String,
}

impl Scene {
    async fn boot() -> Option<Self> {
        let cloud = cloud().await;
        let machine = Machine::boot(&cloud, DATA).await?;
        machine.drop_in(WATCHDOG).await;
        Some(Self { cloud, machine, process: String::new() })
    }

    /// Starts the service after these commands.
    async fn start_after(commands: &[&[&str]]) -> Option<Self> {
        let scene = Self::boot().await?;
        scene.run_all(commands).await;
        Some(scene.start().await)
    }

    async fn start(mut self) -> Self {
        self.run(&["systemctl", "start", "fedecksd"]).await;
        self.process = self.machine.process().await;
        self
    }

    async fn log_in(&mut self) {
        self.machine.log_in().await;
        assert_eq!(self.cloud.next().await, Seen::Connected(By::Credentials));
    }

    async fn run(&self, words: &[&str]) {
        self.machine.run(words).await;
    }

    async fn run_all(&self, commands: &[&[&str]]) {
        for words in commands {
            self.run(words).await;
        }
    }

    /// Expects this error in the status for systemd and in the health, and a connection.
    async fn reports(&self, reason: &str) {
        let status =
            |text: &str| text.starts_with("connected; cannot write to the data directory: ");
        let status = self.machine.service("StatusText", status).await;
        assert!(status.contains(reason), "{status}");
        let health = self.machine.health().await;
        for expected in ["\"state\":\"connected\"", "\"is_stored\":false", "\"failing\"", reason] {
            assert!(health.contains(expected), "{expected} in {health}");
        }
    }

    /// Expects the token on disk, a service that has never stopped, and a reconnect by the token.
    async fn stores_the_token(mut self) {
        self.machine.has(TOKEN).await;
        self.machine.service_is("StatusText", "connected").await;
        let health = self.machine.health().await;
        assert!(health.contains("\"is_stored\":true"), "{health}");
        assert_eq!(self.machine.service("MainPID", |_| true).await, self.process);
        self.machine.service_is("NRestarts", "0").await;
        self.run(&["systemctl", "restart", "fedecksd"]).await;
        assert_eq!(self.cloud.next().await, Seen::Connected(By::Token));
    }
}

const MOUNT: &[&str] = &["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", "/data"];
const MAKE_FOLDER: &[&str] = &["install", "-d", "-o", "fedecks", "-g", "fedecks", DATA];
const MAKE_MOUNT_POINT: &[&str] = &["mkdir", "/data"];
const MAKE_READ_ONLY: &[&str] = &["mount", "-o", "remount,ro", "/data"];
const MAKE_WRITABLE: &[&str] = &["mount", "-o", "remount,rw", "/data"];
const FILL: &[&str] = &["sh", "-c", "! head -c 1M /dev/zero > /data/full"];

/// A way in which the data partition fails.
struct Failure {
    name: &'static str,
    before_start: &'static [&'static [&'static str]],
    before_login: &'static [&'static [&'static str]],
    error: &'static str,
    repair: &'static [&'static [&'static str]],
}

const FAILURES: [Failure; 5] = [
    Failure {
        name: "missing, without a mount point",
        before_start: &[],
        before_login: &[],
        error: "does not exist; is its partition mounted?",
        repair: &[MAKE_MOUNT_POINT, MOUNT, MAKE_FOLDER],
    },
    Failure {
        name: "not mounted on its mount point, in which the service may not create its folder",
        before_start: &[MAKE_MOUNT_POINT],
        before_login: &[],
        error: "cannot be written: Permission denied",
        repair: &[MOUNT, MAKE_FOLDER],
    },
    Failure {
        name: "read-only after an error, as the kernel remounts it",
        before_start: &[MAKE_MOUNT_POINT, MOUNT, MAKE_FOLDER],
        before_login: &[MAKE_READ_ONLY],
        error: "Read-only file system",
        repair: &[MAKE_WRITABLE],
    },
    Failure {
        // The sandbox keeps the flag of this mount.
        name: "read-only at the start, mounted again later",
        before_start: &[MAKE_MOUNT_POINT, MOUNT, MAKE_FOLDER, MAKE_READ_ONLY],
        before_login: &[],
        error: "Read-only file system",
        repair: &[&["umount", "/data"], MOUNT, MAKE_FOLDER],
    },
    Failure {
        name: "full",
        before_start: &[MAKE_MOUNT_POINT, MOUNT, MAKE_FOLDER],
        before_login: &[FILL],
        error: "No space left on device",
        repair: &[&["rm", "/data/full"]],
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_stored_when_the_partition_recovers() {
    for failure in FAILURES {
        eprintln!("the data partition is {}", failure.name);
        let Some(mut scene) = Scene::start_after(failure.before_start).await else { return };
        scene.run_all(failure.before_login).await;
        scene.log_in().await;
        scene.reports(failure.error).await;
        scene.run_all(failure.repair).await;
        scene.stores_the_token().await;
    }
}

/// An image installs it.
const DATA_FOLDER: &str = include_str!("../../../data/fedecks-data.service");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_unit_creates_the_folder_after_a_late_mount() {
    let Some(mut scene) = Scene::start_after(&[]).await else { return };
    scene.log_in().await;
    scene.reports("does not exist; is its partition mounted?").await;
    let mount = "[Mount]\nWhat=tmpfs\nWhere=/data\nType=tmpfs\nOptions=mode=755\n";
    for (unit, text) in [("data.mount", mount), ("fedecks-data.service", DATA_FOLDER)] {
        std::fs::write(scene.machine.path("/etc/systemd/system").join(unit), text).unwrap();
    }
    scene.run(&["systemctl", "enable", "--quiet", "fedecks-data"]).await;
    scene.run(&["systemctl", "start", "data.mount"]).await;
    scene.stores_the_token().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_slower_than_the_watchdog_does_no_harm() {
    let Some(scene) = Scene::boot().await else { return };
    scene.run(&["mkdir", "/data"]).await;
    if !mount_disk(&scene.machine).await {
        return;
    }
    scene.run(MAKE_FOLDER).await;
    let mut scene = scene.start().await;
    // A frozen file system blocks every writer, like a disk that does not respond. It thaws when the pipe is
    // closed, even if this test is killed.
    let freeze = "fsfreeze --freeze /data && echo frozen && read -r _; fsfreeze --unfreeze /data";
    let mut frozen = scene.machine.start(&["sh", "-c", freeze]);
    let mut line = [0; 7];
    within(frozen.stdout.as_mut().unwrap().read_exact(&mut line)).await.unwrap();

    let login = scene.machine.begin_login().await;
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    let writing = "connected; writing to the data directory";
    scene.machine.service_is("StatusText", writing).await;
    // Twice the watchdog's timeout.
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.machine.service_is("StatusText", writing).await;
    let health = scene.machine.health().await;
    assert!(health.contains("\"pending\"") && health.contains("\"is_stored\":false"), "{health}");

    drop(frozen.stdin.take());
    assert!(within(frozen.wait()).await.unwrap().success());
    assert!(within(login.wait_with_output()).await.unwrap().status.success());
    scene.stores_the_token().await;
}

/// Mounts an ext4 file system at /data. False, and the test is skipped, without loop devices.
async fn mount_disk(machine: &Machine) -> bool {
    let image = machine.folder().join("disk");
    let run = |words: &[&str]| {
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let image = image.to_str().unwrap();
    assert!(run(&["truncate", "--size=8M", image]).0);
    assert!(run(&["mkfs.ext4", "-q", image]).0);
    let (attached, device) = run(&["losetup", "--find", "--show", image]);
    if !attached {
        skip("there is no loop device");
        return false;
    }
    let device = device.trim();
    let numbers = run(&["stat", "--format=%Hr %Lr", device]).1;
    let (major, minor) = numbers.trim().split_once(' ').unwrap();
    machine.run(&["mknod", "/dev/disk", "b", major, minor]).await;
    machine.run(&["mount", "/dev/disk", "/data"]).await;
    // It is detached after the last unmount.
    assert!(run(&["losetup", "--detach", device]).0);
    true
}
