//! The service as a child process, with its log.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use super::bus::Bus;
use super::{By, Cloud, PATIENCE, Seen, credentials, within, write};

pub(crate) const DEVICE: &str = "kitchen-1";

/// What the service is started with. The folder has its configuration and its data, and outlives it.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    /// The keys of the configuration, with their values in TOML.
    lines: BTreeMap<&'static str, String>,
    variables: Vec<(&'static str, String)>,
    wrapper: Vec<String>,
}

impl Setup {
    /// A device whose cloud is at `ws://address`. It waits only shortly between attempts, does not watch the
    /// network, and finds no system bus unless [`Setup::on`] gives it one.
    pub(crate) fn new(address: impl Display) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        // Never the bus of the machine that runs the tests.
        let no_bus = format!("unix:path={}", folder.path().join("no-bus").display());
        let setup = Self {
            folder,
            lines: BTreeMap::new(),
            variables: vec![("DBUS_SYSTEM_BUS_ADDRESS", no_bus)],
            wrapper: Vec::new(),
        };
        let data = setup.data();
        setup
            .line("url", &format!("ws://{address}"))
            .line("device_id", DEVICE)
            .line("data_dir", data.to_str().unwrap())
            .line("backoff_base", "50ms")
            .line("backoff_cap", "500ms")
            .line("network", "none")
    }

    /// Sets a key to a string.
    pub(crate) fn line(self, key: &'static str, value: &str) -> Self {
        self.value(key, format!("{value:?}"))
    }

    /// Sets a key to a value in TOML.
    pub(crate) fn value(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.lines.insert(key, value.into());
        self
    }

    /// Leaves a key to its default.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.lines.remove(key);
        self
    }

    /// Puts it on this system bus.
    pub(crate) fn on(self, bus: &Bus) -> Self {
        self.variable("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
    }

    /// Sets a variable of its environment.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Starts it by another command, such as `["ip", "netns", "exec", ...]`.
    pub(crate) fn by(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Has it log in at its start.
    pub(crate) fn with_credentials(self) -> Self {
        let file = self.folder.path().join("provision.toml");
        write(&file, credentials(), 0o600);
        self.line("provision_file", file.to_str().unwrap())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Moves the data directory away, as if its partition were not mounted. Returns where it is.
    pub(crate) fn unmount_data(&self) -> PathBuf {
        let away = self.folder.path().join("away");
        fs::rename(self.data(), &away).unwrap();
        away
    }

    pub(crate) fn start(&self) -> Fedecksd {
        self.start_with(self.configuration())
    }

    /// Starts it with a configuration file of these bytes.
    pub(crate) fn start_with(&self, configuration: impl AsRef<[u8]>) -> Fedecksd {
        let mut child = self.run_with(configuration.as_ref(), Stdio::piped());
        let log: Box<dyn AsyncRead + Send + Unpin> = Box::new(child.stderr.take().unwrap());
        Fedecksd { child, lines: BufReader::new(log).lines(), log: String::new() }
    }

    /// Starts it with another standard error than the one that [`Fedecksd::logs`] reads.
    pub(crate) fn start_logging_to(&self, log: Stdio) -> Fedecksd {
        let lines = BufReader::new(Box::new(tokio::io::empty()) as Box<_>).lines();
        Fedecksd {
            child: self.run_with(self.configuration().as_bytes(), log),
            lines,
            log: String::new(),
        }
    }

    fn configuration(&self) -> String {
        self.lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    fn run_with(&self, configuration: &[u8], log: Stdio) -> Child {
        let file = self.folder.path().join("fedecks.toml");
        // Not while another one reads it.
        if fs::read(&file).ok().as_deref() != Some(configuration) {
            fs::write(&file, configuration).unwrap();
        }
        let program = env!("CARGO_BIN_EXE_fedecksd");
        let mut words = self.wrapper.iter().map(String::as_str).chain([program]);
        Command::new(words.next().unwrap())
            .args(words)
            .arg("--config")
            .arg(file)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// One start from the connection, which the service establishes like this, to its end after it has logged
    /// `text`. Returns the log.
    pub(crate) async fn run(&self, cloud: &mut Cloud, by: By, text: &str) -> String {
        let mut service = self.start();
        assert_eq!(connected(cloud).await, by);
        service.logs(text).await;
        service.terminate().await
    }
}

/// How the device connects next; skips its messages.
pub(crate) async fn connected(cloud: &mut Cloud) -> By {
    cloud.until(|seen| if let Seen::Connected(by) = seen { Some(by) } else { None }).await
}

/// A running service. Dropping it kills it.
pub(crate) struct Fedecksd {
    child: Child,
    lines: Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
    log: String,
}

impl Fedecksd {
    /// Waits for the next log line that contains `text`, and returns it.
    pub(crate) async fn logs(&mut self, text: &str) -> String {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.next_line().await {
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        });
        match found.await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("ended without logging {text:?}:\n{}", self.log),
            Err(_) => panic!("did not log {text:?} in time:\n{}", self.log),
        }
    }

    /// Waits until a line with `text` was logged since the start.
    pub(crate) async fn has_logged(&mut self, text: &str) {
        if !self.log.contains(text) {
            self.logs(text).await;
        }
    }

    async fn next_line(&mut self) -> Option<String> {
        let line = self.lines.next_line().await.unwrap()?;
        self.log += &line;
        self.log.push('\n');
        Some(line)
    }

    /// The log up to the last line that was waited for.
    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    /// Fails if a log line that contains `text` comes within `time`.
    pub(crate) async fn does_not_log(&mut self, text: &str, time: Duration) {
        let logged = tokio::time::timeout(time, async {
            while let Some(line) = self.next_line().await {
                assert!(!line.contains(text), "logged {text:?}:\n{}", self.log);
            }
        });
        assert!(logged.await.is_err(), "ended:\n{}", self.log);
    }

    /// The processor time that it has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.id())).unwrap();
        Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends it as systemd does, and returns its log.
    pub(crate) async fn terminate(mut self) -> String {
        self.begin_to_terminate();
        within(async { while self.next_line().await.is_some() {} }).await;
        let status = within(self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}:\n{}", self.log);
        self.log
    }

    /// Its exit status and its log, once it has ended by itself.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        within(async { while self.next_line().await.is_some() {} }).await;
        (within(self.child.wait()).await.unwrap().code(), self.log)
    }

    /// Asks it to end.
    pub(crate) fn begin_to_terminate(&self) {
        kill(Pid::from_raw(self.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }

    pub(crate) async fn kill(mut self) {
        within(self.child.kill()).await.unwrap();
    }
}

/// Whether a file below `folder` contains `text`.
pub(crate) fn is_anywhere_in(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_anywhere_in(&path, text);
        }
        let bytes = match fs::read(&path) {
            // The service replaces files in the meantime.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            read => read.unwrap(),
        };
        bytes.windows(text.len()).any(|bytes| bytes == text.as_bytes())
    })
}
