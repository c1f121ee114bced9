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
        let machine = Machine::boot(cloud.address, DATA).await?;
        machine.drop_in(WATCHDOG).await;
        Some(Self { cloud, machine, process: String::new() })
    }

    /// Starts the service after these commands.
    async fn start_after(commands: &str) -> Option<Self> {
        let scene = Self::boot().await?;
        scene.run(commands).await;
        Some(scene.start().await)
    }

    async fn start(mut self) -> Self {
        self.run("systemctl start fedecksd").await;
        self.process = self.machine.process().await;
        self
    }

    async fn log_in(&mut self) {
        self.machine.log_in().await;
        assert_eq!(self.cloud.next().await, Seen::Connected(By::Credentials));
    }

    async fn run(&self, commands: &str) {
        self.machine.run(&["sh", "-c", commands]).await;
    }

    /// Expects this error in the status for systemd and in the health, and a connection.
    async fn reports(&self, reason: &str) {
        let status = |text: &str| text.starts_with("connected; data directory: ");
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
        self.run("systemctl restart fedecksd").await;
        assert_eq!(self.cloud.next().await, Seen::Connected(By::Token));
    }
}

const MOUNT: &str = "mkdir -p /data && mount -t tmpfs -o size=256k,mode=755 tmpfs /data && \
                     install -d -o fedecks -g fedecks /data/fedecks";
const READ_ONLY: &str = "mount -o remount,ro /data";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_stored_when_the_partition_recovers() {
    let mounted_read_only = format!("{MOUNT} && {READ_ONLY}");
    // The sandbox keeps the flag of a mount; a new mount has its own.
    let mount_again = format!("umount /data && {MOUNT}");
    let fill = "! head -c 1M /dev/zero > /data/full";
    let missing = "does not exist; is its partition mounted?";
    // The service may not create its folder on the mount point.
    let denied = "cannot be written: Permission denied";
    for (before_start, before_login, error, repair) in [
        ("true", "true", missing, MOUNT),
        ("mkdir /data", "true", denied, MOUNT),
        // The kernel does it after an error.
        (MOUNT, READ_ONLY, "Read-only file system", "mount -o remount,rw /data"),
        (&mounted_read_only, "true", "Read-only file system", &mount_again),
        (MOUNT, fill, "No space left on device", "rm /data/full"),
    ] {
        eprintln!("{before_start}; {before_login}; {error}");
        let Some(mut scene) = Scene::start_after(before_start).await else { return };
        scene.run(before_login).await;
        scene.log_in().await;
        scene.reports(error).await;
        scene.run(repair).await;
        scene.stores_the_token().await;
    }
}

/// An image installs it.
const DATA_FOLDER: &str = include_str!("../../../data/fedecks-data.service");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_unit_creates_the_folder_after_a_late_mount() {
    let Some(mut scene) = Scene::start_after("true").await else { return };
    scene.log_in().await;
    scene.reports("does not exist; is its partition mounted?").await;
    let mount = "[Mount]\nWhat=tmpfs\nWhere=/data\nType=tmpfs\nOptions=mode=755\n";
    for (unit, text) in [("data.mount", mount), ("fedecks-data.service", DATA_FOLDER)] {
        std::fs::write(scene.machine.path("/etc/systemd/system").join(unit), text).unwrap();
    }
    scene.run("systemctl enable --quiet fedecks-data && systemctl start data.mount").await;
    scene.stores_the_token().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_unit_gives_every_file_to_a_new_user_id() {
    let Some(scene) = Scene::start_after(MOUNT).await else { return };
    std::fs::write(scene.machine.path("/etc/systemd/system/fedecks-data.service"), DATA_FOLDER)
        .unwrap();
    let made = "cd /data/fedecks && mkdir -m 700 queue && touch token queue/1.segment /data/other && \
                ln /data/other linked && ln -s /data/other queue/link && chown -Rh 4242:4242 . && \
                chown 4343 linked";
    scene.run(made).await;
    scene.run("systemctl daemon-reload && systemctl start fedecks-data").await;
    let owners = "cd /data/fedecks && stat --format '%n %U' . token queue queue/1.segment linked";
    let owners = scene.machine.run(&["sh", "-c", owners]).await;
    let expected =
        ". fedecks\ntoken fedecks\nqueue fedecks\nqueue/1.segment fedecks\nlinked UNKNOWN";
    assert_eq!(owners.trim(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_slower_than_the_watchdog_does_no_harm() {
    let Some(scene) = Scene::boot().await else { return };
    scene.run("mkdir /data").await;
    if !mount_disk(&scene.machine).await {
        return;
    }
    scene.run("install -d -o fedecks -g fedecks /data/fedecks").await;
    let mut scene = scene.start().await;
    // A frozen file system blocks every writer, like a disk that does not respond. It thaws when the pipe is
    // closed, even if this test is killed.
    let freeze = "fsfreeze --freeze /data && echo frozen && read -r _; fsfreeze --unfreeze /data";
    let mut frozen = scene.machine.start(&["sh", "-c", freeze]);
    let mut line = [0; 7];
    within(frozen.stdout.as_mut().unwrap().read_exact(&mut line)).await.unwrap();

    let login = scene.machine.begin_login().await;
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    let writing = "connected; saving the token";
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
    let run = |script: &str| {
        let mut command = Command::new("sh");
        let output = command.args(["-ec", script, image.to_str().unwrap()]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    run("truncate --size=8M \"$0\" && mkfs.ext4 -q \"$0\"").unwrap();
    let Some(device) = run("losetup --find --show \"$0\"") else {
        skip("there is no loop device");
        return false;
    };
    let numbers = run(&format!("stat --format='%Hr %Lr' {device}")).unwrap();
    let mount = format!("mknod /dev/disk b {numbers} && mount /dev/disk /data");
    machine.run(&["sh", "-c", &mount]).await;
    // It is detached after the last unmount.
    run(&format!("losetup --detach {device}")).unwrap();
    true
}
