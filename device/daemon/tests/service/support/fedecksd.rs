//! The service as a child process, with its log.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::bus::Bus;
use super::cloud::{PASSWORD, USER};
use super::within;

pub(crate) const DEVICE: &str = "kitchen-1";

/// What the service is started with. The folder holds its configuration, `fedecks.toml`, and its
/// data, and outlives it.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    url: String,
    lines: String,
    variables: Vec<(&'static str, String)>,
    wrapper: Vec<String>,
    program: PathBuf,
}

impl Setup {
    /// A device whose cloud is at `url`. It waits little between attempts, watches no network, finds
    /// no system bus unless it is put on one by [`Setup::on`], and takes further lines of
    /// configuration by [`Setup::line`].
    pub(crate) fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        // Never the bus of the machine that runs the tests.
        let no_bus = format!("unix:path={}", folder.path().join("no-bus").display());
        let mut setup = Self {
            folder,
            url: url.to_owned(),
            lines: String::new(),
            variables: vec![("DBUS_SYSTEM_BUS_ADDRESS", no_bus)],
            wrapper: Vec::new(),
            program: env!("CARGO_BIN_EXE_fedecksd").into(),
        };
        let data = setup.data().to_owned();
        for (key, value) in [
            ("url", url),
            ("device_id", DEVICE),
            ("data_dir", data.to_str().unwrap()),
            ("backoff_base", "50ms"),
            ("backoff_cap", "500ms"),
            ("network", "none"),
        ] {
            setup = setup.line(key, value);
        }
        setup
    }

    /// Sets a key to a text.
    pub(crate) fn line(mut self, key: &str, value: &str) -> Self {
        // A later line takes the place of an earlier one.
        self = self.without(key);
        writeln!(self.lines, "{key} = {value:?}").unwrap();
        self
    }

    /// Sets a key to true or false.
    pub(crate) fn flag(mut self, key: &str, value: bool) -> Self {
        self = self.without(key);
        writeln!(self.lines, "{key} = {value}").unwrap();
        self
    }

    /// Puts it on this system bus.
    pub(crate) fn on(self, bus: &Bus) -> Self {
        self.variable("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
    }

    /// Leaves a key to its default.
    pub(crate) fn without(mut self, key: &str) -> Self {
        let beginning = format!("{key} = ");
        let others = self.lines.lines().filter(|line| !line.starts_with(&beginning));
        self.lines = others.fold(String::new(), |lines, line| lines + line + "\n");
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Takes another program than the one built for the tests.
    pub(crate) fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Starts it by another command, `["ip", "netns", "exec", ...]` for example.
    pub(crate) fn by(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Lets it log in by itself at its start.
    pub(crate) fn with_credentials(self) -> Self {
        let file = self.folder.path().join("provision.toml");
        fs::write(&file, format!("username = {USER:?}\npassword = {PASSWORD:?}\n")).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        self.line("provision_file", file.to_str().unwrap())
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("fedecks.toml")
    }

    /// Starts the service.
    pub(crate) fn start(&self) -> Fedecksd {
        fs::write(self.configuration(), &self.lines).unwrap();
        let mut words = self.wrapper.iter().map(OsStr::new).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        let mut child = command
            .args(words)
            .arg("--config")
            .arg(self.configuration())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Fedecksd { child, log, said: String::new() }
    }
}

/// A running service. Dropping it kills it.
pub(crate) struct Fedecksd {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Fedecksd {
    /// The next log line that contains `text`; others are passed over.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        let found = tokio::time::timeout(super::PATIENCE, async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        });
        match found.await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("it ended without saying {text:?}; it said:\n{}", self.said),
            Err(_) => panic!("it did not say {text:?} in time; it said:\n{}", self.said),
        }
    }

    /// Everything up to the line that was asked for last.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// Fails if a log line that contains `text` comes within this time.
    pub(crate) async fn keeps_from_saying(&mut self, text: &str, time: Duration) {
        let said = tokio::time::timeout(time, async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
                assert!(!line.contains(text), "it said {text:?}; it said:\n{}", self.said);
            }
        });
        assert!(said.await.is_err(), "it ended; it said:\n{}", self.said);
    }

    /// What it has used of a processor since its start.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.id())).unwrap();
        Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends it as systemd does, and waits until it has ended.
    pub(crate) async fn terminate(mut self) {
        let id = Pid::from_raw(self.id().try_into().unwrap());
        nix::sys::signal::kill(id, Signal::SIGTERM).unwrap();
        let status = within(self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}; it said:\n{}", self.said);
    }

    /// Ends it as systemd does and gives all that it said.
    pub(crate) async fn terminate_and_tell(mut self) -> String {
        let id = Pid::from_raw(self.id().try_into().unwrap());
        nix::sys::signal::kill(id, Signal::SIGTERM).unwrap();
        within(async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.said += &line;
                self.said.push('\n');
            }
        })
        .await;
        within(self.child.wait()).await.unwrap();
        self.said
    }

    pub(crate) async fn kill(mut self) {
        within(self.child.kill()).await.unwrap();
    }
}

/// Whether anything in this folder contains `text`.
pub(crate) fn is_anywhere_in(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            is_anywhere_in(&path, text)
        } else {
            read_if_there(&path).windows(text.len()).any(|bytes| bytes == text.as_bytes())
        }
    })
}

/// The service replaces files while they are looked at.
fn read_if_there(path: &Path) -> Vec<u8> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.unwrap(),
    }
}
