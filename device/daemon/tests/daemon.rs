//! The real `fedecksd`: what it says about a wrong configuration, what it tells systemd, how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

fn fedecksd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedecksd"));
    // Never the system bus of the machine that runs the tests.
    command
        .env_clear()
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder with a configuration of these lines besides those that say where the data is.
fn configured(lines: &str) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fedecks.toml");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(&file, format!("data_dir = {data:?}\ndevice_id = \"nerves-242a\"\n{lines}\n"))
        .unwrap();
    (folder, file)
}

fn check(file: &Path) -> Output {
    run(fedecksd().arg("--check").arg("--config").arg(file))
}

#[test]
fn help_and_version_are_printed() {
    let help = run(fedecksd().arg("--help"));
    assert!(help.status.success());
    assert!(text(&help.stdout).starts_with("fedecksd keeps this device connected"));
    let version = run(fedecksd().arg("--version"));
    assert_eq!(text(&version.stdout), format!("fedecksd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_argument_ends_with_2_and_points_to_the_help() {
    let output = run(fedecksd().arg("--confg"));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "fedecksd: invalid option '--confg'; see fedecksd --help\n");
}

#[test]
fn a_good_configuration_is_called_so() {
    let (_folder, file) = configured("url = \"wss://cloud.example.com\"");
    let output = check(&file);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "the configuration is good: device nerves-242a at \
         wss://cloud.example.com/fedecks/websocket\n"
    );
}

#[test]
fn a_check_tells_of_an_action_that_cannot_be_run_and_writes_nothing() {
    let (folder, file) =
        configured("url = \"wss://cloud.example.com\"\nunreachable_action = \"/bin/nope\"");
    let text_of_file = std::fs::read_to_string(&file).unwrap();
    let without_id: String = text_of_file
        .lines()
        .filter(|line| !line.starts_with("device_id"))
        .fold(String::new(), |text, line| text + line + "\n");
    std::fs::write(&file, without_id).unwrap();
    let output = run(fedecksd().arg("--check").arg("--config").arg(&file));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let but = ", but: unreachable_action /bin/nope: No such file or directory (os error 2)\n";
    assert!(said.ends_with(but), "{said}");
    assert_eq!(std::fs::read_dir(folder.path().join("data")).unwrap().count(), 0);
}

#[test]
fn a_wrong_configuration_ends_with_78_and_names_file_key_and_expectation() {
    for (lines, key, expected) in [
        ("url = \"https://cloud.example.com\"", "url", "expected wss://"),
        ("url = 7", "url", "expected"),
        ("", "url", "is missing"),
        ("url = \"wss://c\"\nlog = \"loud\"", "log", "expected"),
        ("url = \"wss://c\"\nurll = \"wss://c\"", "urll", "unknown"),
        ("url = \"wss://c\"\ndevice_id2 = \"a b\"", "device_id2", "unknown"),
    ] {
        let (_folder, file) = configured(lines);
        let output = check(&file);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{lines}: {error}");
        for part in [file.to_str().unwrap(), key, expected] {
            assert!(error.contains(part), "{lines}: {error:?} does not name {part:?}");
        }
    }
}

#[test]
fn an_unreadable_configuration_or_certificate_ends_with_78_and_names_the_file() {
    let output = check(Path::new("/no/such/file.toml"));
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/no/such/file.toml"));

    let (_folder, file) = configured("url = \"wss://c\"\nca_file = \"/no/such/ca.pem\"");
    let output = check(&file);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/no/such/ca.pem"));
}

#[test]
fn the_environment_alone_can_configure_it() {
    let output = run(fedecksd()
        .arg("--check")
        .env("FEDECKS_URL", "ws://127.0.0.1:4000")
        .env("FEDECKS_DEVICE_ID", "from-the-environment"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("from-the-environment at ws://127.0.0.1:4000/"));
}

/// A running service with the socket that systemd would listen on.
struct Service {
    child: Child,
    systemd: UnixDatagram,
    _folder: TempDir,
}

impl Service {
    fn start(url: &str) -> Self {
        Self::start_with(url, Stdio::piped())
    }

    fn start_with(url: &str, log: Stdio) -> Self {
        let (folder, file) = configured(&format!("url = {url:?}"));
        let socket = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&socket).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let child = fedecksd()
            .arg("--config")
            .arg(file)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "200000")
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, systemd, _folder: folder }
    }

    /// Waits for a notice that begins so; others are passed over.
    fn await_notice(&self, beginning: &str) -> String {
        let mut buffer = [0; 1024];
        loop {
            let length = self.systemd.recv(&mut buffer).expect("no such notice came");
            let notice = text(&buffer[..length]);
            if let Some(line) = notice.lines().find(|line| line.starts_with(beginning)) {
                return line.to_owned();
            }
        }
    }

    fn terminate(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        let notice = self.await_notice("STOPPING=1");
        assert_eq!(notice, "STOPPING=1");
        let output = {
            let child = std::mem::replace(&mut self.child, Command::new("true").spawn().unwrap());
            child.wait_with_output().unwrap()
        };
        (output.status.code(), text(&output.stderr))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_is_ready_without_a_network_pats_the_watchdog_and_ends_cleanly_on_sigterm() {
    // Nobody listens there: the port was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let service = Service::start(&format!("ws://127.0.0.1:{port}"));
    service.await_notice("READY=1");
    let status = service.await_notice("STATUS=");
    assert_eq!(status, "STATUS=unregistered: waiting for a login");
    service.await_notice("WATCHDOG=1");
    service.await_notice("WATCHDOG=1");
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("nothing is encrypted"), "{log}");
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_it() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let service = Service::start_with("ws://127.0.0.1:9", full.into());
    service.await_notice("READY=1");
    service.await_notice("WATCHDOG=1");
    let (code, _) = service.terminate();
    assert_eq!(code, Some(0));
}

#[test]
fn a_provisioning_file_that_others_can_read_is_not_used_and_stays() {
    let (folder, file) = configured("url = \"ws://127.0.0.1:9\"");
    let credentials = folder.path().join("credentials.toml");
    std::fs::write(&credentials, "username = \"marvin\"\npassword = \"forty-two\"\n").unwrap();
    std::fs::set_permissions(&credentials, PermissionsExt::from_mode(0o644)).unwrap();
    let mut child = fedecksd()
        .arg("--config")
        .arg(file)
        .env("FEDECKS_PROVISION_FILE", &credentials)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = String::new();
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    for line in std::io::BufRead::lines(stderr) {
        log.push_str(&line.unwrap());
        if log.contains("were not used") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(log.contains("has mode 0644, expected 0600 or less"), "{log}");
    assert!(!log.contains("forty-two"), "{log}");
    assert!(credentials.exists());
}
