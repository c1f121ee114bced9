//! What a broken store does to those who are connected, and what it takes to mend it: nothing is
//! started again.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fedecks_device::{DeviceId, Event};
use fedecks_protocol::{AUTH_HEADER, AuthRequest, Credentials, Dialect, Proof, REFUSAL_HEADER};
use http::StatusCode;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::{ACCOUNT, Device, Events, Http, PASSWORD, PATIENCE, Server, skip, within};

/// A server whose store is in a folder of its own, a copy of the store, and a device that has been
/// connected since before anything broke.
struct Bed {
    server: Server,
    pid: u32,
    device: Device,
    store: PathBuf,
    /// With a token that may read and send.
    http: Http,
    /// What devices send.
    messages: Events,
}

const COPY: &str = "copy.sqlite";

impl Bed {
    async fn with_store_in(folder: &Path) -> Self {
        let store = folder.join("fedecks.sqlite");
        let server = Server::with(&format!("store = \"{}\"\n", store.display())).await;
        let pid = server.pid();
        let device = server.connected_device("nerves-1").await;
        let http = server.http().token(&server.token(&["--role", "read", "--role", "send"]).await);
        let messages = http.events("/api/v1/events?kind=message").await;
        server.command(&["backup", COPY]).await;
        Self { server, pid, device, store, http, messages }
    }

    /// The answer to a login with the right password.
    async fn login(&self, device: &str) -> (StatusCode, Option<String>) {
        let credentials = Credentials::new().with("username", ACCOUNT).with("password", PASSWORD);
        let request = AuthRequest {
            device_id: DeviceId::new(device).unwrap(),
            proof: Proof::Credentials(credentials),
        };
        let started = Instant::now();
        let answer = self
            .server
            .http()
            .header(AUTH_HEADER, &request.to_header(Dialect::Bincode).unwrap())
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", "fedecks.v1.bincode")
            .open(http::Method::GET, "/fedecks/websocket", "")
            .await;
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        let reason = answer.headers().get(REFUSAL_HEADER);
        (answer.status(), reason.map(|reason| reason.to_str().unwrap().to_owned()))
    }

    /// The device talks, and comes back by its token.
    async fn goes_on(&mut self) {
        within(self.device.client.send("still here")).await.unwrap();
        assert_eq!(self.messages.next().await["message"], "still here");
        let path = "/api/v1/devices/nerves-1/messages";
        let http = self.http.clone().header("content-type", "application/json");
        let sent = http.ask(http::Method::POST, path, "\"you too?\"").await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{sent:?}");
        self.device.until(|event| *event == Event::Message("you too?".into())).await;
        within(self.device.client.reconnect()).await.unwrap();
        self.device.until(|event| *event == Event::Connected).await;
        within(self.device.client.send("here again")).await.unwrap();
        assert_eq!(self.messages.next().await["message"], "here again");
    }

    /// What needs the store answers so, in time.
    async fn api_is_unavailable(&self) {
        let started = Instant::now();
        let answer = self.http.get("/api/v1/devices").await;
        assert_eq!(answer.json()["code"], "store-unavailable");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers.contains_key("retry-after"));
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        assert_eq!(self.http.get("/readyz").await.json()["store"], "failing");
    }

    /// Until a login is answered so.
    async fn until_login(&self, device: &str, status: StatusCode) {
        let answered = async {
            while self.login(device).await.0 != status {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap();
    }

    /// A command of the program that has to fail.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_fedecks-cloud"))
            .env_clear()
            .env("FEDECKS_CONFIG", "cloud.toml")
            .current_dir(self.server.folder.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.server.folder.path().join("log")).unwrap()
    }

    /// The same process does everything that takes the store.
    async fn is_well(&mut self) {
        assert_eq!(self.server.pid(), self.pid);
        self.until_login("nerves-2", StatusCode::SWITCHING_PROTOCOLS).await;
        self.goes_on().await;
        assert_eq!(self.http.get("/api/v1/devices").await.status, StatusCode::OK);
        assert_eq!(self.http.get("/readyz").await.json()["store"], "ok");
        let listed = async {
            loop {
                let devices = self.server.command(&["device", "list"]).await;
                if devices.contains("nerves-2\t20") && devices.contains("nerves-1\t20") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, listed).await.is_err() {
            let devices = self.server.command(&["device", "list"]).await;
            panic!("{devices}\n{}", self.log());
        }
        self.server.command(&["device", "block", "nerves-1"]).await;
        self.device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
        self.until_login("nerves-1", StatusCode::FORBIDDEN).await;
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

const UNAVAILABLE: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "unavailable");

fn is(answer: &(StatusCode, Option<String>), expected: (StatusCode, &str)) -> bool {
    answer.0 == expected.0 && answer.1.as_deref() == Some(expected.1)
}

#[tokio::test]
async fn a_store_that_is_gone_garbage_or_overwritten_keeps_logins_out_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut bed = Bed::with_store_in(folder.path()).await;
    fs::remove_file(&bed.store).unwrap();
    assert!(is(&bed.login("nerves-2").await, UNAVAILABLE));
    bed.api_is_unavailable().await;
    bed.goes_on().await;

    let garbage = folder.path().join("garbage");
    fs::write(&garbage, vec![0xa5; 50_000]).unwrap();
    fs::rename(&garbage, &bed.store).unwrap();
    assert!(is(&bed.login("nerves-2").await, UNAVAILABLE));
    bed.goes_on().await;
    bed.server.command(&["restore", COPY]).await;
    bed.until_login("nerves-2", StatusCode::SWITCHING_PROTOCOLS).await;

    let file = fs::OpenOptions::new().write(true).open(&bed.store).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![0x5a; usize::try_from(length).unwrap()], 0).unwrap();
    // Until then it may answer from memory.
    bed.until_login("nerves-2", StatusCode::SERVICE_UNAVAILABLE).await;
    bed.api_is_unavailable().await;
    bed.goes_on().await;
    bed.server.command(&["restore", COPY]).await;
    bed.is_well().await;
}

#[tokio::test]
async fn a_store_that_another_process_holds_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut bed = Bed::with_store_in(folder.path()).await;
    let holder = Connection::open(&bed.store).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(bed.login("nerves-2").await.0, StatusCode::SWITCHING_PROTOCOLS);
    bed.goes_on().await;
    let busy = bed.fails(&["device", "revoke", "nerves-3"]);
    assert!(busy.contains("is busy and did not answer in time"), "{busy}");
    assert_eq!(bed.login("nerves-2").await.0, StatusCode::SWITCHING_PROTOCOLS);
    holder.execute_batch("COMMIT").unwrap();
    bed.is_well().await;
}

#[tokio::test]
async fn a_full_disk_keeps_nobody_out_and_what_was_noted_is_written_when_there_is_room() {
    let Some(disk) = Disk::mount() else { return };
    let mut bed = Bed::with_store_in(&disk.path()).await;
    let filler = disk.path().join("filler");
    let file = fs::File::create(&filler).unwrap();
    let mut at = 0;
    while file.write_at(&[1; 4096], at).is_ok_and(|count| count == 4096) {
        at += 4096;
    }
    // Changes find no room from then on, even in what the store had of the disk already.
    let failed = (0..10_000).find_map(|number| {
        let output = Command::new(env!("CARGO_BIN_EXE_fedecks-cloud"))
            .env_clear()
            .env("FEDECKS_CONFIG", "cloud.toml")
            .current_dir(bed.server.folder.path())
            .args(["device", "revoke", &format!("filler-{number}")])
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (!output.status.success()).then_some(error)
    });
    let failed = failed.unwrap();
    assert!(failed.contains("full"), "{failed}");
    assert_eq!(bed.login("nerves-2").await.0, StatusCode::SWITCHING_PROTOCOLS);
    bed.goes_on().await;

    drop(file);
    fs::remove_file(filler).unwrap();
    bed.is_well().await;
}

#[tokio::test]
async fn a_disk_that_turns_read_only_is_exchanged_without_a_restart() {
    let Some(mut disk) = Disk::mount() else { return };
    let mut bed = Bed::with_store_in(&disk.path()).await;
    // What the kernel does after an error of the disk.
    disk.turn_read_only();
    let failed = bed.fails(&["device", "revoke", "nerves-3"]);
    assert!(failed.contains("cannot"), "{failed}");
    bed.goes_on().await;

    disk.exchange();
    assert!(is(&bed.login("nerves-2").await, UNAVAILABLE), "an empty disk is no new store");
    bed.api_is_unavailable().await;
    bed.goes_on().await;
    bed.server.command(&["restore", COPY]).await;
    bed.is_well().await;
}

/// A small ext4 file system in a file, mounted.
struct Disk {
    folder: TempDir,
    images: u32,
}

impl Disk {
    /// Nothing where that is not allowed.
    fn mount() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("it takes root to mount");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mount")).unwrap();
        let mut disk = Self { folder, images: 0 };
        match disk.mount_new() {
            Ok(()) => Some(disk),
            Err(error) => {
                skip(&format!("no file system can be mounted from a file: {error}"));
                None
            }
        }
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

    /// Another disk in the place of this one, which goes when nobody uses it any more.
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
        // A test that fails may have left nothing to unmount.
        let _ = self.unmount();
    }
}

fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {error}")) }
}
