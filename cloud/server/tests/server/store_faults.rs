//! A broken store does not affect connected devices, and is repaired without a restart.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fedecks_device::Event;
use fedecks_protocol::{AUTH_HEADER, Proof};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::device::{Device, credentials};
use fedecks_testing::http::{Events, Http};
use fedecks_testing::postgres::PostgresServer;
use fedecks_testing::raw_device::{RawDevice, SUBPROTOCOL, auth_header};
use fedecks_testing::wait::{is_root, skip, until, until_every, within};
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::postgres::with_database;
use crate::support::{PROGRAM, problem};

/// A server with its store in another folder, a copy of the store, and a device that has been
/// connected since before anything broke.
struct Bed {
    server: CloudProcess,
    pid: u32,
    device: Device,
    store: PathBuf,
    /// With a token that may read and send.
    http: Http,
    /// What devices send.
    messages: Events,
}

const COPY: &str = "copy.sqlite";

// Answers to logins.
const CONNECTED: &str = "101";
const UNAVAILABLE: &str = "503 unavailable";

impl Bed {
    async fn with_store_in(folder: &Path) -> Self {
        let store = folder.join("fedecks.sqlite");
        let server = CloudProcess::start(PROGRAM, &format!("store = {store:?}\n")).await;
        let token = Self::token(&server).await;
        // With the token, which would be revoked by restoring a copy without it.
        server.program.run(&["backup", COPY], "").await;
        Self::with(server, store, token).await
    }

    /// A server whose store is in a database.
    async fn of(server: CloudProcess) -> Self {
        let token = Self::token(&server).await;
        Self::with(server, PathBuf::new(), token).await
    }

    async fn token(server: &CloudProcess) -> String {
        server.token("all", &["--role", "read", "--role", "send"]).await
    }

    async fn with(server: CloudProcess, store: PathBuf, token: String) -> Self {
        let pid = server.pid();
        let device = server.device("nerves-1").await;
        let http = server.http().token(&token);
        let messages = http.events("/api/v1/events?kind=message").await;
        Self { server, pid, device, store, http, messages }
    }

    /// The status and the reason that answer a login with the right password.
    async fn login(&self, device: &str) -> String {
        let header = auth_header(device, Proof::Credentials(credentials(USER, PASSWORD)));
        let headers = [(AUTH_HEADER, &*header), SUBPROTOCOL];
        match in_time(RawDevice::dial_with(self.server.address, &headers)).await {
            Ok(_) => CONNECTED.to_owned(),
            Err(refused) => format!("{} {}", refused.status, refused.reason.unwrap_or_default()),
        }
    }

    /// The device sends and receives, and reconnects by its token.
    async fn works(&mut self) {
        within(self.device.client.send("still here")).await.unwrap();
        assert_eq!(self.messages.next().await["message"], "still here");
        let path = "/api/v1/devices/nerves-1/messages";
        let sent = self.http.clone().json().post(path, "\"you too?\"").await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{sent:?}");
        self.device.until(|event| *event == Event::Message("you too?".into())).await;
        within(self.device.client.reconnect()).await.unwrap();
        self.device.until_connected().await;
        within(self.device.client.send("here again")).await.unwrap();
        assert_eq!(self.messages.next().await["message"], "here again");
    }

    /// What needs the store is refused, in time.
    async fn api_is_unavailable(&self) {
        let answer = in_time(self.http.get("/api/v1/devices")).await;
        assert_eq!(problem(&answer), "503 store-unavailable");
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(self.http.get("/readyz").await.json()["store"], "failing");
    }

    /// Waits until the answer to a login begins with this status.
    async fn until_login(&self, device: &str, status: &str) {
        until_every(Duration::from_millis(50), async || {
            self.login(device).await.starts_with(status).then_some(())
        })
        .await;
    }

    /// Restores the copy.
    async fn restore(&self) {
        self.server.program.run(&["restore", COPY], "").await;
    }

    /// The complaint of a command that cannot change the store.
    async fn revoke_fails(&self) -> String {
        self.server.program.fails(&["device", "revoke", "nerves-3", "--allow-unknown"], 1).await
    }

    /// The same process does everything that needs the store.
    async fn is_well(&mut self) {
        assert_eq!(self.server.pid(), self.pid);
        // One that no note about an earlier session has made known.
        self.until_login("nerves-4", CONNECTED).await;
        self.works().await;
        assert_eq!(self.http.get("/api/v1/devices").await.status, StatusCode::OK);
        assert_eq!(self.http.get("/readyz").await.json()["store"], "ok");
        until(async || {
            let devices = self.server.program.run(&["device", "list"], "").await;
            let both = devices.contains("nerves-4\t20") && devices.contains("nerves-1\t20");
            both.then_some(())
        })
        .await;
        self.server.program.run(&["device", "block", "nerves-1", "--allow-unknown"], "").await;
        self.device.until_lost().await;
        self.until_login("nerves-1", "403").await;
        let log = self.server.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// The output of what must not take long, even if the store is broken.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(8), future).await.unwrap()
}

#[tokio::test]
async fn a_broken_store_refuses_logins_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut bed = Bed::with_store_in(folder.path()).await;
    fs::remove_file(&bed.store).unwrap();
    assert_eq!(bed.login("nerves-2").await, UNAVAILABLE);
    bed.api_is_unavailable().await;
    bed.works().await;

    let garbage = folder.path().join("garbage");
    fs::write(&garbage, vec![0xa5; 50_000]).unwrap();
    fs::rename(&garbage, &bed.store).unwrap();
    assert_eq!(bed.login("nerves-2").await, UNAVAILABLE);
    bed.works().await;
    bed.restore().await;
    bed.until_login("nerves-2", CONNECTED).await;

    let file = fs::OpenOptions::new().write(true).open(&bed.store).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![0x5a; usize::try_from(length).unwrap()], 0).unwrap();
    // Before that it may answer from memory.
    bed.until_login("nerves-2", "503").await;
    bed.api_is_unavailable().await;
    bed.works().await;
    bed.restore().await;
    bed.is_well().await;
}

#[tokio::test]
async fn a_locked_store_refuses_only_new_devices() {
    let folder = tempfile::tempdir().unwrap();
    let mut bed = Bed::with_store_in(folder.path()).await;
    let holder = Connection::open(&bed.store).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(bed.login("nerves-2").await, UNAVAILABLE);
    bed.works().await;
    let busy = bed.revoke_fails().await;
    assert!(busy.contains("is busy and did not answer in time"), "{busy}");
    holder.execute_batch("COMMIT").unwrap();
    bed.is_well().await;
}

#[tokio::test]
async fn a_full_disk_delays_writes_and_refuses_only_new_devices() {
    let Some(disk) = Disk::mount() else { return };
    let mut bed = Bed::with_store_in(&disk.path()).await;
    let filler = disk.path().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    // Until the pages that the store has reserved are full too.
    let mut number = 0;
    let failed = loop {
        let device = format!("filler-{number}");
        let output =
            bed.server.program.output(&["device", "revoke", &device, "--allow-unknown"], "").await;
        if !output.status.success() {
            break String::from_utf8(output.stderr).unwrap();
        }
        number += 1;
        assert!(number < 10_000, "the disk never fills");
    };
    assert!(failed.contains("full"), "{failed}");
    assert_eq!(bed.login("nerves-2").await, UNAVAILABLE);
    bed.works().await;

    drop(file);
    fs::remove_file(filler).unwrap();
    bed.is_well().await;
}

#[tokio::test]
async fn a_disk_that_turns_read_only_is_replaced_without_a_restart() {
    let Some(mut disk) = Disk::mount() else { return };
    let mut bed = Bed::with_store_in(&disk.path()).await;
    // As the kernel does after a disk error.
    disk.turn_read_only();
    let failed = bed.revoke_fails().await;
    assert!(failed.contains("cannot"), "{failed}");
    bed.works().await;

    disk.exchange();
    assert_eq!(bed.login("nerves-2").await, UNAVAILABLE, "an empty disk is not a new store");
    bed.api_is_unavailable().await;
    bed.works().await;
    bed.restore().await;
    bed.is_well().await;
}

#[tokio::test]
async fn a_killed_database_refuses_logins_and_nothing_else() {
    let Some(mut postgres) = PostgresServer::start() else { return };
    let program = with_database(&postgres.database("fedecks"));
    program.add_account(USER, PASSWORD).await;
    let mut bed = Bed::of(program.serve(&[]).await).await;
    postgres.kill();
    bed.http.until_status("/api/v1/devices", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(bed.login("nerves-2").await, UNAVAILABLE);
    bed.api_is_unavailable().await;
    bed.works().await;
    let path = "/api/v1/devices/nerves-1/messages?keep=true";
    let kept = in_time(bed.http.clone().json().post(path, "1")).await;
    assert_eq!(problem(&kept), "503 store-unavailable");
    let failed = bed.revoke_fails().await;
    assert!(failed.contains("cannot connect to the store postgres://"), "{failed}");
    postgres.start_again();
    bed.is_well().await;
    let kept = bed.http.clone().json().post(path, "2").await;
    assert_eq!(kept.status, StatusCode::ACCEPTED, "{kept:?}");
}

/// A small ext4 file system in a file, mounted.
struct Disk {
    folder: TempDir,
    images: u32,
}

impl Disk {
    /// Skips the test and returns `None` where that is not allowed.
    fn mount() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mount")).unwrap();
        let mut disk = Self { folder, images: 0 };
        let mounted = disk.mount_new();
        if let Err(error) = &mounted {
            skip(&format!("no file system can be mounted from a file: {error}"));
        }
        mounted.is_ok().then_some(disk)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn mount_new(&mut self) -> Result<(), String> {
        self.images += 1;
        let image = self.folder.path().join(format!("image-{}", self.images));
        fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        command("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()])?;
        let mount = self.path();
        command("mount", &["-o", "loop", image.to_str().unwrap(), mount.to_str().unwrap()])
    }

    fn turn_read_only(&self) {
        command("mount", &["-o", "remount,abort", self.path().to_str().unwrap()]).unwrap();
    }

    /// Replaces this disk by another one. The old one goes when its last file is closed.
    fn exchange(&mut self) {
        self.unmount().unwrap();
        self.mount_new().unwrap();
    }

    fn unmount(&self) -> Result<(), String> {
        command("umount", &["--lazy", self.path().to_str().unwrap()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // After a failure there may be nothing to unmount.
        let _ = self.unmount();
    }
}

fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {error}")) }
}
