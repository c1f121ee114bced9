//! Whatever the data partition does, under the shipped unit in a booted systemd: the service stays up,
//! says so, and stores the token as soon as it can.

use std::process::Command;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::support::cloud::{By, Cloud, Seen};
use crate::support::machine::Machine;
use crate::support::within;

const DATA: &str = "/data/fedecks";
const TOKEN: &str = "/data/fedecks/token";
/// More often than the shipped unit has it, to see in a test that it is fed.
const WATCHDOG: &str = "WatchdogSec=2s";

/// A machine, and a cloud for it.
struct Scene {
    cloud: Cloud,
    machine: Machine,
    process: String,
}

impl Scene {
    async fn boot() -> Option<Self> {
        let cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
        let machine = Machine::boot(&cloud, DATA).await?;
        machine.drop_in(WATCHDOG).await;
        Some(Self { cloud, machine, process: String::new() })
    }

    /// Starts the service after these commands.
    async fn start_after(commands: &[&[&str]]) -> Option<Self> {
        let scene = Self::boot().await?;
        for words in commands {
            scene.run(words).await;
        }
        Some(scene.start().await)
    }

    async fn start(mut self) -> Self {
        self.run(&["systemctl", "start", "fedecksd"]).await;
        self.process = self.machine.service("MainPID", |process| process != "0").await;
        self
    }

    async fn log_in(&mut self) {
        self.machine.log_in().await;
        assert_eq!(self.cloud.next().await, Seen::Connected(By::Credentials));
    }

    async fn run(&self, words: &[&str]) {
        self.machine.run(words).await;
    }

    /// That status, for systemd and for people, tells of a store that fails for this reason, and that
    /// the connection is there.
    async fn fails_for(&self, reason: &str) {
        let status = |text: &str| text.starts_with("connected; the store fails: ");
        let status = self.machine.service("StatusText", status).await;
        assert!(status.contains(reason), "{status}");
        let health = self.machine.health().await;
        for expected in ["\"state\":\"connected\"", "\"is_stored\":false", "\"failing\"", reason] {
            assert!(health.contains(expected), "{expected} in {health}");
        }
    }

    /// That the token gets on disk, and the service was there all the time and can come back by it.
    async fn gets_stored_at_last(mut self) {
        self.machine.has(TOKEN).await;
        self.machine.service("StatusText", |text| text == "connected").await;
        let health = self.machine.health().await;
        assert!(health.contains("\"is_stored\":true"), "{health}");
        assert_eq!(self.machine.service("MainPID", |_| true).await, self.process);
        self.machine.service("NRestarts", |count| count == "0").await;
        self.run(&["systemctl", "restart", "fedecksd"]).await;
        assert_eq!(self.cloud.next().await, Seen::Connected(By::Token));
    }
}

const MOUNT: &[&str] = &["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", "/data"];
const MAKE_FOLDER: &[&str] = &["install", "-d", "-o", "fedecks", "-g", "fedecks", DATA];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_at_the_start_without_even_a_mount_point() {
    let Some(mut scene) = Scene::start_after(&[]).await else { return };
    scene.log_in().await;
    scene.fails_for("does not exist; is its partition mounted?").await;
    for words in [&["mkdir", "/data"], MOUNT, MAKE_FOLDER] {
        scene.run(words).await;
    }
    scene.gets_stored_at_last().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_at_the_start_and_mounted_over_an_empty_folder_later() {
    let Some(mut scene) = Scene::start_after(&[&["mkdir", "/data"]]).await else { return };
    scene.log_in().await;
    // The service may not make its folder beside the mount point's files.
    scene.fails_for("cannot be written: Permission denied").await;
    scene.run(MOUNT).await;
    scene.run(MAKE_FOLDER).await;
    scene.gets_stored_at_last().await;
}

/// As images have it.
const DATA_FOLDER: &str = include_str!("../../../data/fedecks-data.service");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_and_mounted_late_by_systemd_with_a_unit_that_makes_the_folder() {
    let Some(mut scene) = Scene::start_after(&[]).await else { return };
    scene.log_in().await;
    scene.fails_for("does not exist; is its partition mounted?").await;
    let mount = "[Mount]\nWhat=tmpfs\nWhere=/data\nType=tmpfs\nOptions=mode=755\n";
    for (unit, text) in [("data.mount", mount), ("fedecks-data.service", DATA_FOLDER)] {
        std::fs::write(scene.machine.path("/etc/systemd/system").join(unit), text).unwrap();
    }
    scene.run(&["systemctl", "enable", "--quiet", "fedecks-data"]).await;
    scene.run(&["systemctl", "start", "data.mount"]).await;
    scene.gets_stored_at_last().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_for_a_while() {
    let prepare: [&[&str]; 3] = [&["mkdir", "/data"], MOUNT, MAKE_FOLDER];
    let Some(mut scene) = Scene::start_after(&prepare).await else { return };
    // The file system itself, as the kernel does it after an error.
    scene.run(&["mount", "-o", "remount,ro", "/data"]).await;
    scene.log_in().await;
    scene.fails_for("Read-only file system").await;
    scene.run(&["mount", "-o", "remount,rw", "/data"]).await;
    scene.gets_stored_at_last().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_at_the_start_and_mounted_anew_later() {
    let read_only: &[&str] = &["mount", "-o", "remount,ro", "/data"];
    let prepare: [&[&str]; 4] = [&["mkdir", "/data"], MOUNT, MAKE_FOLDER, read_only];
    let Some(mut scene) = Scene::start_after(&prepare).await else { return };
    scene.log_in().await;
    scene.fails_for("Read-only file system").await;
    // The sandbox keeps the flag that the mount had; a new mount brings its own.
    scene.run(&["umount", "/data"]).await;
    scene.run(MOUNT).await;
    scene.run(MAKE_FOLDER).await;
    scene.gets_stored_at_last().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_for_a_while() {
    let prepare: [&[&str]; 3] = [&["mkdir", "/data"], MOUNT, MAKE_FOLDER];
    let Some(mut scene) = Scene::start_after(&prepare).await else { return };
    scene.run(&["sh", "-c", "! head -c 1M /dev/zero > /data/full"]).await;
    scene.log_in().await;
    scene.fails_for("No space left on device").await;
    scene.run(&["rm", "/data/full"]).await;
    scene.gets_stored_at_last().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_slow_that_nothing_is_written_for_longer_than_the_watchdog_waits() {
    let Some(scene) = Scene::boot().await else { return };
    scene.run(&["mkdir", "/data"]).await;
    if !mount_disk(&scene.machine).await {
        return;
    }
    scene.run(MAKE_FOLDER).await;
    let mut scene = scene.start().await;
    // A frozen file system keeps every writer waiting, as a disk does that does not answer. It thaws
    // when the pipe is closed, so also when this test is killed.
    let freeze = "fsfreeze --freeze /data && echo frozen && read -r _; fsfreeze --unfreeze /data";
    let mut frozen = scene.machine.start(&["sh", "-c", freeze]);
    let mut said = [0; 7];
    within(frozen.stdout.as_mut().unwrap().read_exact(&mut said)).await.unwrap();

    let login = scene.machine.begin_login().await;
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    let writing = |text: &str| text == "connected; the store is being written";
    scene.machine.service("StatusText", writing).await;
    // Twice what the watchdog allows.
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.machine.service("StatusText", writing).await;
    let health = scene.machine.health().await;
    assert!(health.contains("\"pending\"") && health.contains("\"is_stored\":false"), "{health}");

    drop(frozen.stdin.take());
    assert!(within(frozen.wait()).await.unwrap().success());
    assert!(within(login.wait_with_output()).await.unwrap().status.success());
    scene.gets_stored_at_last().await;
}

/// Mounts an ext4 file system at /data; false where that cannot be had, which is said then.
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
        crate::support::skip("there is no loop device");
        return false;
    }
    let device = device.trim();
    let numbers = run(&["stat", "--format=%Hr %Lr", device]).1;
    let (major, minor) = numbers.trim().split_once(' ').unwrap();
    machine.run(&["mknod", "/dev/disk", "b", major, minor]).await;
    machine.run(&["mount", "/dev/disk", "/data"]).await;
    // It goes with the last mount.
    assert!(run(&["losetup", "--detach", device]).0);
    true
}
