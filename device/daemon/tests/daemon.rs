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
    let (folder, file) = configured("device_id = \"d\"\nurl = \"wss://c\"");
    fs::remove_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data"), "").unwrap();
    let (status, summary, _) = check(&file);
    assert_eq!(status, Some(3), "{summary}");
    assert!(summary.contains("/data is not a directory"), "{summary}");
}

#[test]
fn an_invalid_configuration_ends_with_78_and_a_complete_error() {
    for (lines, parts) in [
        ("url = \"https://cloud.example.com\"", ["url", "wss://"]),
        ("url = \"wss://\"", ["line 1: url: ", "the URL has no host; expected wss://HOST"]),
        ("url = 7", ["url", "must be a string in quotes, not 7"]),
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

#[cfg(not(feature = "public-authorities"))]
#[test]
fn without_public_authorities_a_file_with_others_is_needed() {
    let (_folder, file) = configured("device_id = \"d\"\nurl = \"wss://c\"");
    let (status, _, error) = check(&file);
    assert_eq!(status, Some(78), "{error}");
    let expected = "ca_file: a file with authorities is needed, as this program was built without the public ones";
    assert!(error.contains(expected), "{error}");
    let (_folder, file) = configured("device_id = \"d\"\nurl = \"ws://c\"");
    let (status, summary, error) = check(&file);
    assert_eq!(status, Some(0), "{summary}{error}");
}

#[test]
fn relative_paths_of_the_configuration_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let file = folder.path().join("fedecks.toml");
    let started_here = |extra: &[(&str, &str)]| {
        let mut command = fedecksd();
        command.current_dir(folder.path()).envs(extra.iter().copied());
        run(command.args(["--check", "--user", &me(), "--config", "fedecks.toml"]))
    };
    let absolute = folder.path().join("data");
    let base = format!("device_id = \"d\"\nurl = \"wss://c\"\ndata_dir = {absolute:?}\n");
    fs::write(&file, &base).unwrap();
    assert_eq!(started_here(&[]).0, Some(0));
    // It is there as seen from here, but not from where systemd starts the service.
    for (line, key) in [
        ("data_dir = \"data\"", "data_dir"),
        ("data_dir = \"new\"", "data_dir"),
        ("provision_file = \"p.toml\"", "provision_file"),
    ] {
        let rest = if key == "data_dir" { base.replace("data_dir", "#") } else { base.clone() };
        fs::write(&file, format!("{rest}{line}\n")).unwrap();
        let (status, summary, error) = started_here(&[]);
        let expected = format!("warning: fedecks.toml, line 4: {key}: ");
        assert_eq!(status, Some(3), "{line} is taken without a word: {summary}{error}");
        assert!(summary.contains(&expected) && summary.contains("is relative"), "{summary}");
        assert!(!summary.contains("partition"), "{summary}");
    }
    fs::write(&file, &base).unwrap();
    let (status, summary, _) = started_here(&[("FEDECKS_DATA_DIR", "data")]);
    let expected = "warning: environment variable FEDECKS_DATA_DIR: data_dir: \"data\" is relative";
    assert!(status == Some(3) && summary.contains(expected), "{summary}");
}

#[test]
fn a_certificate_is_reported_at_its_key() {
    let paths = |key: &str| (format!("{key} = \"/nowhere.pem\""), key.to_owned());
    let (ca_file, _) = paths("ca_file");
    let both = "client_cert = \"/nowhere.pem\"\nclient_key = \"/nowhere.key\"";
    for (lines, place) in [
        (&*ca_file, "line 3: ca_file: cannot read a PEM certificate from /nowhere.pem: No such"),
        (both, "line 3: client_cert: cannot read a PEM certificate from /nowhere.pem: No such"),
        ("ca_file = \"/etc/hostname\"", "line 3: ca_file: cannot read a PEM certificate from /etc"),
    ] {
        let (_folder, file) = configured(&format!("device_id = \"d\"\nurl = \"wss://c\"\n{lines}"));
        let expected = format!("fedecksd: {}, {place}", file.display());
        let (status, _, error) = check(&file);
        assert!(status == Some(78) && error.starts_with(&expected), "{lines}: {error}");
        let (status, _, error) = run(fedecksd().arg("--config").arg(&file));
        assert!(status == Some(78) && error.contains(&expected), "the start: {error}");
    }
    let (_folder, file) = configured("device_id = \"d\"\nurl = \"wss://c\"");
    let (status, _, error) =
        run(fedecksd().env("FEDECKS_CA_FILE", "/nowhere.pem").arg("--config").arg(&file));
    let expected = "environment variable FEDECKS_CA_FILE: ca_file: cannot read a PEM certificate";
    assert!(status == Some(78) && error.contains(expected), "{error}");
}

#[test]
fn every_status_is_in_the_table_of_the_help() {
    let (_, help, _) = run(fedecksd().arg("--help"));
    let table = help.split_once("Exit status:\n").expect(&help).1;
    let codes = |text: &str| -> Vec<i32> {
        let first = |line: &str| line.trim().split([' ', '|']).next()?.parse().ok();
        text.lines().filter_map(first).collect()
    };
    assert_eq!(codes(table), [0, 1, 2, 3, 75, 78]);
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/device.md");
    let manual = fs::read_to_string(manual).unwrap();
    let rows = manual.split_once("### Exit status of `fedecksd`\n").unwrap().1;
    let rows = rows.split_once("\n#").unwrap().0.replace("\n| ", "\n");
    assert_eq!(codes(&rows), codes(table), "docs/device.md");

    let good = "device_id = \"d\"\nurl = \"wss://c\"";
    for (lines, code) in [
        (good, 0),
        ("device_id = \"d\"\nurl = \"wss://c\"\nnewer = 1", 3),
        ("device_id = \"d\"\nurl = \"https://c\"", 78),
    ] {
        let (_folder, file) = configured(lines);
        let (status, summary, error) = check(&file);
        assert_eq!(status, Some(code), "{lines}: {summary}{error}");
    }
    assert_eq!(run(fedecksd().args(["--user", "root"])).0, Some(2));
    let unknown = ["--check", "--user", "no-such-user"];
    assert_eq!(run(fedecksd().args(unknown)).0, Some(1));
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
fn a_first_start_without_its_directory_is_no_error() {
    let (folder, file) = configured("device_id = \"d\"\nurl = \"ws://127.0.0.1:9\"");
    fs::remove_dir(folder.path().join("data")).unwrap();
    let socket = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = fedecksd();
    command.arg("--config").arg(file).env("NOTIFY_SOCKET", &socket).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let mut service = Service { child, systemd, _folder: folder };
    // After the look for a token.
    assert_eq!(service.notifies("STATUS="), "STATUS=unregistered: waiting for a login");
    let log = service.terminate();
    assert!(!log.contains("partition") && !log.contains("ERROR"), "{log}");
    assert!(log.contains("does not exist yet"), "{log}");
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
