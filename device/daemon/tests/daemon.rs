//! The real `fedecksd`: its command line, its notifications to systemd, and its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

/// Its exit status, standard output and standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    (output.status.code(), stdout, stderr)
}

fn check(file: &Path) -> (Option<i32>, String, String) {
    run(fedecksd().args(["--check", "--user"]).arg(me()).arg("--config").arg(file))
}

/// Root would become the user of the service, if this machine has one.
fn me() -> String {
    let output = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8(output).unwrap().trim().to_owned()
}

/// A folder for the data, with a configuration of these lines.
fn configured(lines: &str) -> (TempDir, PathBuf) {
    configured_first(lines, "")
}

/// The same, with more lines at the end, where there may be sections.
fn configured_first(lines: &str, last: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("fedecks.toml"), folder.path().join("data"));
    fs::create_dir(&data).unwrap();
    fs::write(&file, format!("{lines}\ndata_dir = {data:?}\n{last}\n")).unwrap();
    (folder, file)
}

#[test]
fn help_and_version_are_printed() {
    let (status, help, _) = run(fedecksd().arg("--help"));
    assert_eq!(status, Some(0));
    assert!(help.starts_with("fedecksd keeps this device connected"), "{help}");
    let version = format!("fedecksd {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(fedecksd().arg("--version")), (Some(0), version, String::new()));
}

#[test]
fn an_invalid_argument_ends_with_2_and_points_to_the_help() {
    let error = "fedecksd: invalid option '--confg'; see fedecksd --help\n";
    assert_eq!(run(fedecksd().arg("--confg")), (Some(2), String::new(), error.into()));
}

#[test]
fn an_error_that_quotes_a_path_drives_no_terminal() {
    for arguments in [&["--check"][..], &[]] {
        let path = "/no/\u{1b}[2J\u{9b}\u{202e}";
        let (_, _, error) = run(fedecksd().args(["--config", path]).args(arguments));
        assert!(error.contains(r"/no/\u001b[2J\u009b\u202e"), "{error:?}");
    }
}

#[test]
fn check_summarises_a_valid_configuration() {
    let (folder, file) =
        configured("device_id = \"nerves-242a\"\nurl = \"wss://cloud.example.com\"");
    let (status, summary, error) = check(&file);
    let expected = "the configuration is valid: device nerves-242a at \
                    wss://cloud.example.com/fedecks/websocket";
    assert!(summary.starts_with(expected) && summary.lines().count() == 1, "{summary}");
    assert_eq!((status, error), (Some(0), String::new()));

    let (status, summary, error) = run(fedecksd()
        .args(["--check", "--user", &me()])
        .env("FEDECKS_URL", "ws://127.0.0.1:4000")
        .env("FEDECKS_DATA_DIR", folder.path())
        .env("FEDECKS_DEVICE_ID", "from-the-environment"));
    assert_eq!(status, Some(0), "{summary}{error}");
    assert!(summary.contains("from-the-environment at ws://127.0.0.1:4000/"), "{summary}");
}

#[test]
fn check_ends_with_3_for_warnings_and_writes_nothing() {
    for (lines, warning) in [
        ("unreachable_action = \"/bin/nope\"", "unreachable_action /bin/nope: No such file"),
        ("newer_key = 7", "fedecks.toml, line 4: newer_key: unknown key, ignored"),
        ("[newer]\nsection = true\n[other]", "line 4: newer: unknown key, ignored"),
        ("log = \"loud\"", "expected error, warn, info, debug or trace; using the default"),
        ("provision_file = \"/etc/passwd\"", "the provisioning file /etc/passwd has mode 0644"),
    ] {
        let (folder, file) = configured_first("device_id = \"d\"\nurl = \"wss://c\"", lines);
        let (status, summary, error) = check(&file);
        assert_eq!(status, Some(3), "{lines}: {summary}{error}");
        let mut printed = summary.lines().skip(1);
        let is_right = |line: &str| line.starts_with("warning: ") && line.contains(warning);
        assert!(printed.any(is_right), "{lines}: {summary}");
        assert_eq!(fs::read_dir(folder.path().join("data")).unwrap().count(), 0);
    }
    let (_folder, file) = configured("device_id = \"d\"\nurl = \"wss://c\"");
    let text = fs::read_to_string(&file).unwrap().replace("data\"", "no/such/data\"");
    fs::write(&file, text).unwrap();
    let (status, summary, _) = check(&file);
    assert_eq!(status, Some(3), "{summary}");
    assert!(summary.contains("does not exist and cannot be created"), "{summary}");
}

#[test]
fn an_invalid_configuration_ends_with_78_and_a_complete_error() {
    for (lines, parts) in [
        ("url = \"https://cloud.example.com\"", ["url", "wss://"]),
        ("url = 7", ["url", "expected"]),
        ("", ["url", "is missing"]),
        ("url = \"wss://c\"\ndevice_id2 = \"a b\"", ["device_id2", "is device_id meant?"]),
        ("url = \"wss://c\"\nca_file = \"x\"\nonly_ca_fil = true", ["only_ca_fil", "only_ca_file"]),
        ("url = \"wss://c\"\nonly_pins = true", ["only_pins", "cannot restrict"]),
        ("url = \"wss://c\"\nurl = \"wss://d\"", ["line 2", "duplicate"]),
    ] {
        let (_folder, file) = configured(lines);
        let (status, _, error) = check(&file);
        assert_eq!(status, Some(78), "{lines}: {error}");
        let parts = [&[file.to_str().unwrap()], &parts[..]].concat();
        assert!(parts.iter().all(|part| error.contains(part)), "{lines}: {error}");
    }
    let (_folder, file) = configured("url = \"wss://c\"\nca_file = \"/no/such/ca.pem\"");
    for (file, missing) in
        [(&*file, "/no/such/ca.pem"), (Path::new("/no/such/file.toml"), "/no/such/file.toml")]
    {
        let (status, _, error) = check(file);
        assert_eq!(status, Some(78), "{error}");
        assert!(error.contains(missing), "{error}");
    }
}

/// A running service with the notification socket of systemd.
struct Service {
    child: Child,
    systemd: UnixDatagram,
    _folder: TempDir,
}

impl Service {
    fn start(url: &str, log: Stdio) -> Self {
        Self::start_with(url, "", log)
    }

    /// Starts it with further lines of configuration.
    fn start_with(url: &str, lines: &str, log: Stdio) -> Self {
        let (folder, file) =
            configured(&format!("device_id = \"nerves-242a\"\nurl = {url:?}\n{lines}"));
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

    /// Waits for a notification that begins like this; skips others.
    fn notifies(&self, beginning: &str) -> String {
        let mut buffer = [0; 1024];
        loop {
            let length = match self.systemd.recv(&mut buffer) {
                // The kernel does not restart a call with a timeout when the process is stopped and continued.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                received => received.expect("no such notification came"),
            };
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            if let Some(line) = text.lines().find(|line| line.starts_with(beginning)) {
                return line.to_owned();
            }
        }
    }

    /// Ends it by SIGTERM. Returns its log.
    fn terminate(&mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert_eq!(self.notifies("STOPPING=1"), "STOPPING=1");
        let stderr = self.child.stderr.take();
        let log = stderr.map(|stderr| std::io::read_to_string(stderr).unwrap()).unwrap_or_default();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{log}");
        log
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_is_ready_without_a_network_and_ends_cleanly_on_sigterm() {
    // A free port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut service = Service::start(&format!("ws://127.0.0.1:{port}"), Stdio::piped());
    service.notifies("READY=1");
    assert_eq!(service.notifies("STATUS="), "STATUS=unregistered: waiting for a login");
    service.notifies("WATCHDOG=1");
    service.notifies("WATCHDOG=1");
    let log = service.terminate();
    assert!(log.contains("nothing is encrypted"), "{log}");
}

#[test]
fn problems_of_the_configuration_are_in_its_status_line() {
    let mut service = Service::start_with("ws://127.0.0.1:9", "newer_key = 7", Stdio::piped());
    let expected = "STATUS=unregistered: waiting for a login; the configuration has problems, see \
                    fedecks status";
    assert_eq!(service.notifies("STATUS="), expected);
    let log = service.terminate();
    assert!(log.contains("WARN configuration: ") && log.contains("newer_key"), "{log}");
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_it() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut service = Service::start("ws://127.0.0.1:9", full.into());
    service.notifies("READY=1");
    service.notifies("WATCHDOG=1");
    service.terminate();
}
