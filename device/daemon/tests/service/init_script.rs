//! The init script for systems without systemd, with the tools of Debian and of busybox.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::fedecksd::DEVICE;
use crate::support::{
    By, Seen, cloud, credentials, has_programs, is_root, path_after, until, within, write,
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/fedecksd.init");

/// A user that every system has.
const SERVICE_USER: &str = "daemon";

const BUSYBOX: &str = "/bin/busybox";

const DEBIAN: (&str, &str) = ("start-stop-daemon", "dpkg");

/// The applets of a minimal system.
const APPLETS: [&str; 12] = [
    "cat",
    "chown",
    "grep",
    "id",
    "ls",
    "mkdir",
    "rm",
    "sh",
    "sleep",
    "start-stop-daemon",
    "tee",
    "tr",
];

/// A system with the script. Dropping it stops the service.
struct System {
    folder: TempDir,
    shell: PathBuf,
    path: OsString,
}

impl System {
    /// With the tools of this program and package. None, and the test is skipped, if it is missing.
    fn new(program: (&str, &str), tools: &[&str], shell: &Path, url: &str) -> Option<Self> {
        if !is_root() || !has_programs(&[program]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::create_dir(file("bin")).unwrap();
        for tool in tools {
            symlink(BUSYBOX, file("bin").join(tool)).unwrap();
        }
        // The user cannot enter the build folder.
        fs::copy(env!("CARGO_BIN_EXE_fedecksd"), file("fedecksd")).unwrap();
        fs::copy(SCRIPT, file("S60fedecksd")).unwrap();
        let here = folder.path().display();
        let configuration = format!(
            "url = {url:?}\ndevice_id = {DEVICE:?}\ndata_dir = \"{here}/data\"\nnetwork = \"none\"\n\
             backoff_base = \"50ms\"\nbackoff_cap = \"500ms\"\n"
        );
        fs::write(file("fedecks.toml"), configuration).unwrap();
        let path = path_after(&file("bin"));
        let system = Self { folder, shell: shell.to_owned(), path };
        system.configure("");
        Some(system)
    }

    /// Writes the defaults, with these lines at their end.
    fn configure(&self, more: &str) {
        let here = self.folder.path().display();
        let defaults = format!(
            "FEDECKSD={here}/fedecksd\nFEDECKSD_ARGS='--config {here}/fedecks.toml'\n\
             RUN_AS={SERVICE_USER}\nDATA_DIR={here}/data\nPIDFILE={here}/pid\n\
             RUNTIME_DIRECTORY={here}/run\n\
             LOGGER='tee -a {here}/data/log'\n\
             export DBUS_SYSTEM_BUS_ADDRESS=unix:path={here}/no-bus\n{more}"
        );
        fs::write(self.file("defaults"), defaults).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the script to its end. Returns its exit status and its output.
    async fn run(&self, action: &str) -> (i32, String) {
        let mut command = Command::new(&self.shell);
        command
            .arg(self.file("S60fedecksd"))
            .arg(action)
            .env_clear()
            .env("PATH", &self.path)
            .env("FEDECKSD_DEFAULTS", self.file("defaults"))
            .kill_on_drop(true);
        let output = within(command.output()).await.unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), printed)
    }

    /// The processes of the service.
    fn services(&self) -> Vec<i32> {
        let program = self.file("fedecksd");
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter(|process| {
                fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == program)
            })
            .filter_map(|process| process.file_name().to_str()?.parse().ok())
            .collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("data/log")).unwrap_or_default()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let mut command = std::process::Command::new(&self.shell);
        command.arg(self.file("S60fedecksd")).arg("stop").env("PATH", &self.path);
        let _ = command.env("FEDECKSD_DEFAULTS", self.file("defaults")).output();
    }
}

/// From the first start to the last, with a crash in between.
async fn keeps_it_running(program: (&str, &str), tools: &[&str], shell: &Path) {
    let mut cloud = cloud().await;
    let url = format!("ws://{}", cloud.address);
    let Some(system) = System::new(program, tools, shell, &url) else { return };
    assert_eq!(system.run("status").await, (3, "fedecksd is stopped\n".into()));
    assert_eq!(system.run("stop").await, (0, String::new()));

    assert_eq!(system.run("start").await, (0, String::new()));
    let data = fs::metadata(system.file("data")).unwrap();
    assert_eq!(data.permissions().mode() & 0o777, 0o700);
    let user = nix::unistd::User::from_name(SERVICE_USER).unwrap().unwrap();
    let run = fs::metadata(system.file("run")).unwrap();
    assert_eq!(run.permissions().mode() & 0o777, 0o755);
    for directory in [&data, &run] {
        assert_eq!(std::os::unix::fs::MetadataExt::uid(directory), user.uid.as_raw());
    }
    let provisioning = system.file("data/provision.toml");
    write(&provisioning, credentials(), 0o600);
    nix::unistd::chown(&provisioning, Some(user.uid), None).unwrap();
    assert_eq!(system.run("restart").await, (0, String::new()));
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    assert_eq!(system.run("status").await, (0, "fedecksd is running\n".into()));
    let [first] = system.services()[..] else { panic!("{:?}", system.services()) };
    let process = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    let users = format!("Uid:\t{0}\t{0}\t{0}\t{0}", user.uid);
    assert!(process.contains(&users), "{process}");

    let again = system.run("start").await;
    assert_eq!(again, (0, "fedecksd is already running\n".into()));
    assert_eq!(system.services(), [first]);

    // Removed as soon as the token is on disk.
    until(async || (!provisioning.exists()).then_some(())).await;
    let signal = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), signal).unwrap();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    // The logger may be behind.
    let restarted = "ended with status 137, restarting in 1 s";
    until(async || system.log().contains(restarted).then_some(())).await;

    assert_eq!(system.run("reload").await, (0, String::new()));
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    assert_eq!(system.services().len(), 1);

    assert_eq!(system.run("stop").await.0, 0);
    assert!(system.log().ends_with("stopped\n"), "{}", system.log());
    assert!(system.services().is_empty());
    assert_eq!(system.run("status").await.0, 3);
    // It would restart after 1 s.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(system.services().is_empty());

    // Like after an update by an image whose user has another number.
    fs::create_dir(system.file("data/queue")).unwrap();
    fs::write(system.file("data/queue/file"), "").unwrap();
    let kept = ["", "/token", "/lock", "/queue", "/queue/file"];
    let kept = kept.map(|name| system.file(&format!("data{name}")));
    for file in &kept {
        nix::unistd::chown(file, Some(4242.into()), Some(4242.into())).unwrap();
    }
    assert_eq!(system.run("start").await, (0, String::new()));
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    for file in &kept {
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(file).unwrap());
        assert_eq!(owner, user.uid.as_raw(), "{}", file.display());
    }
}

#[tokio::test]
async fn with_debians_tools_it_keeps_running_until_it_is_stopped() {
    keeps_it_running(DEBIAN, &[], Path::new("/bin/sh")).await;
}

#[tokio::test]
async fn with_busybox_it_keeps_running_until_it_is_stopped() {
    // It is the applet of the name by which it is run.
    let shells = tempfile::tempdir().unwrap();
    let shell = shells.path().join("sh");
    symlink(BUSYBOX, &shell).unwrap();
    keeps_it_running(("busybox", "busybox"), &APPLETS, &shell).await;
}

#[tokio::test]
async fn errors_have_an_exit_status_and_a_description() {
    let Some(system) = System::new(DEBIAN, &[], Path::new("/bin/sh"), "ws://127.0.0.1:1") else {
        return;
    };
    system.configure("FEDECKSD=/nowhere/fedecksd\n");
    let missing = "fedecksd: /nowhere/fedecksd not found\n";
    assert_eq!(system.run("start").await, (5, missing.into()));
    system.configure("RUN_AS=no-such-user\n");
    let missing = "fedecksd: no such user: no-such-user\n";
    assert_eq!(system.run("start").await, (6, missing.into()));
    system.configure("");
    let (status, usage) = system.run("dance").await;
    assert!(status == 2 && usage.starts_with("Usage: "), "{status} {usage}");
    // A stale file with the number of another process.
    fs::write(system.file("pid"), format!("{}\n", std::process::id())).unwrap();
    assert_eq!(system.run("status").await.0, 1);
    assert_eq!(system.run("start").await, (0, String::new()));
    assert_eq!(system.run("status").await.0, 0);
}

#[tokio::test]
async fn without_its_partition_no_data_directory_is_created() {
    let Some(system) = System::new(DEBIAN, &[], Path::new("/bin/sh"), "ws://127.0.0.1:1") else {
        return;
    };
    let here = system.folder.path().display();
    let fstab = format!(
        "#LABEL=old {here} ext4 rw 0 0\n/dev/x / ext4 rw 0 1\nLABEL=data {here}/mnt ext4 rw 0 2\n"
    );
    fs::write(system.file("fstab"), fstab).unwrap();
    fs::create_dir(system.file("mnt")).unwrap();
    let data = format!("DATA_DIR={here}/mnt/data\nLOGGER=\n");
    for how in
        [format!("FSTAB={here}/fstab\n"), format!("FSTAB=/dev/null\nDATA_MOUNT={here}/mnt\n")]
    {
        system.configure(&format!("{data}{how}"));
        let expected = format!(
            "fedecksd: {here}/mnt is not mounted, so the data directory {here}/mnt/data is not created\n"
        );
        assert_eq!(system.run("start").await, (0, expected));
        assert!(!system.file("mnt/data").exists());
        assert_eq!(system.run("stop").await.0, 0);
    }
    // A mount point that is mounted, and one that the directory is not below.
    for how in [
        "FSTAB=/dev/null\nDATA_MOUNT=/\n".to_owned(),
        format!("FSTAB={here}/fstab\nDATA_DIR={here}/mnt2\n"),
    ] {
        system.configure(&format!("{data}{how}"));
        assert_eq!(system.run("start").await, (0, String::new()));
        assert_eq!(system.run("stop").await.0, 0);
    }
    assert!(system.file("mnt/data").exists() && system.file("mnt2").exists());
}

#[tokio::test]
async fn only_files_with_one_name_are_given_to_the_user() {
    let busybox = tempfile::tempdir().unwrap();
    let busybox_shell = busybox.path().join("sh");
    symlink(BUSYBOX, &busybox_shell).unwrap();
    for (program, tools, shell) in [
        (DEBIAN, &[][..], Path::new("/bin/sh")),
        (("busybox", "busybox"), &APPLETS[..], &*busybox_shell),
    ] {
        let Some(system) = System::new(program, tools, shell, "ws://127.0.0.1:1") else { continue };
        let user = nix::unistd::User::from_name(SERVICE_USER).unwrap().unwrap().uid.as_raw();
        let owner = |name: &str| {
            std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(system.file(name)).unwrap())
        };
        fs::create_dir(system.file("data")).unwrap();
        let own = ["data/token", "data/registration-nonce", "data/time", "data/lock"];
        for name in ["roots", "also-roots"].into_iter().chain(own) {
            fs::write(system.file(name), "").unwrap();
        }
        // As the service's user can where the kernel does not forbid it.
        fs::hard_link(system.file("roots"), system.file("data/provision.toml")).unwrap();
        fs::hard_link(system.file("roots"), system.file("data/token.previous")).unwrap();
        symlink("../also-roots", system.file("data/identity")).unwrap();
        for name in ["data", "data/token"] {
            nix::unistd::chown(&system.file(name), Some(4242.into()), None).unwrap();
        }
        assert_eq!(system.run("start").await, (0, String::new()));
        for (name, expected) in [
            ("roots", 0),
            ("also-roots", 0),
            ("data", user),
            ("data/token", user),
            ("data/registration-nonce", user),
            ("data/time", user),
            ("data/lock", user),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
    }
}
