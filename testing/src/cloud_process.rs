//! The program `fedecks-cloud` in a temporary folder: its commands, and the server as a process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use fedecks_cloud::DeviceId;
use fedecks_cloud::store::{Actor, RegistrationStore, SqliteStore, StoreOptions, unix_now};
use http::StatusCode;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::device::Device;
use crate::http::Http;
use crate::wait::{until, until_every, within};
use crate::{PASSWORD, SALT, SECRET, USER};

/// The program with its folder, which holds the configuration `cloud.toml` and the store.
pub struct CloudProgram {
    program: PathBuf,
    /// The working directory of the program.
    pub folder: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl CloudProgram {
    /// In an empty folder, and without a configuration. `program` is
    /// `env!("CARGO_BIN_EXE_fedecks-cloud")` in the tests of its package.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { program: program.into(), folder, environment: Vec::new() }
    }

    /// With a free port of 127.0.0.1, [`SECRET`], [`SALT`] and these lines in its configuration.
    pub fn configured(program: impl Into<PathBuf>, lines: &str) -> Self {
        let program = Self::new(program).variable("FEDECKS_CONFIG", "cloud.toml");
        std::fs::write(program.folder.path().join("cloud.toml"), configuration(lines)).unwrap();
        program
    }

    /// Sets a variable of its environment, which is empty otherwise.
    pub fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The program with these arguments. It is killed when the handle is dropped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn output(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that fails before it reads has closed the pipe; the caller sees how it ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
        within(child.wait_with_output()).await.unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub async fn run(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with this exit code, and returns what it complained about.
    pub async fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.output(arguments, "").await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Adds an account.
    pub async fn add_account(&self, name: &str, password: &str) {
        self.run(&["account", "add", name], password).await;
    }

    /// Runs the server until the result is dropped.
    pub async fn serve(self, arguments: &[&str]) -> CloudProcess {
        let command = self.command(&[&["serve"], arguments].concat());
        self.serve_by(command).await
    }

    /// Runs the server by another command, which has to be `serve`.
    pub async fn serve_by(self, command: Command) -> CloudProcess {
        let log = self.log_file();
        self.serve_logging_to(command, log).await
    }

    /// Starts the server without waiting until it listens: another one may have its store.
    pub fn stand_by(self, arguments: &[&str]) -> CloudProcess {
        let command = self.command(&[&["serve"], arguments].concat());
        let (address, child) = (([0, 0, 0, 0], 0).into(), self.spawn(command, self.log_file()));
        CloudProcess { address, child, read: 0, program: self }
    }

    /// The same with another standard error than the file that [`CloudProcess::log`] reads.
    pub async fn serve_logging_to(self, command: Command, log: impl Into<Stdio>) -> CloudProcess {
        let (address, child) = (([0, 0, 0, 0], 0).into(), self.spawn(command, log));
        let mut process = CloudProcess { address, child, read: 0, program: self };
        process.listens().await;
        process
    }

    /// `log` in the folder, to append to.
    fn log_file(&self) -> File {
        let log = self.folder.path().join("log");
        File::options().create(true).append(true).open(log).unwrap()
    }

    fn spawn(&self, mut command: Command, log: impl Into<Stdio>) -> Child {
        let ready = self.folder.path().join("ready");
        let _ = std::fs::remove_file(&ready);
        command.args(["--ready-file", "ready"]).stderr(log).spawn().unwrap()
    }
}

/// A free port of 127.0.0.1, [`SECRET`], [`SALT`], and these lines after them.
pub fn configuration(lines: &str) -> String {
    format!("listen = \"127.0.0.1:0\"\nsecret = {SECRET:?}\nsalt = {SALT:?}\n{lines}\n")
}

/// A running server.
pub struct CloudProcess {
    /// What it was started from.
    pub program: CloudProgram,
    /// Where it listens; the first address, if there are more.
    pub address: SocketAddr,
    child: Child,
    /// How much of its log [`CloudProcess::logs`] has read, in bytes.
    read: usize,
}

impl CloudProcess {
    /// A server with the account [`USER`] and these lines in its configuration.
    pub async fn start(program: impl Into<PathBuf>, lines: &str) -> Self {
        let program = CloudProgram::configured(program, lines);
        program.add_account(USER, PASSWORD).await;
        program.serve(&[]).await
    }

    /// Starts it again at the same address.
    pub async fn start_again(&mut self) {
        self.start_at(self.address).await;
    }

    /// Starts it again at this address, or at a free port of it.
    pub async fn start_at(&mut self, address: SocketAddr) {
        let listen = address.to_string();
        let command = self.program.command(&["serve", "--listen", &listen]);
        self.child = self.program.spawn(command, self.program.log_file());
        self.listens().await;
    }

    /// Starts it again with these arguments of `serve`, without waiting until it listens.
    pub fn spawn_again(&mut self, arguments: &[&str]) {
        let command = self.program.command(&[&["serve"], arguments].concat());
        self.child = self.program.spawn(command, self.program.log_file());
    }

    /// How it has ended, if it has.
    pub fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    async fn listens(&mut self) {
        let address = until_every(Duration::from_millis(1), async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", self.log());
            self.addresses().first().copied()
        });
        self.address = address.await;
    }

    /// Waits, for as long as it takes, until it listens.
    pub async fn listens_at_last(&mut self) {
        while self.addresses().is_empty() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.address = self.addresses()[0];
    }

    /// Where it listens: at `listen`, and then at each `[[listener]]`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let ready = std::fs::read_to_string(self.program.folder.path().join("ready"));
        ready.unwrap_or_default().lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Kills it as a power cut would.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Its exit code, once it has ended.
    pub async fn ended(&mut self) -> Option<i32> {
        within(self.end()).await
    }

    /// The same, for as long as it takes.
    pub async fn end(&mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.program.folder.path().join("log")).unwrap_or_default()
    }

    /// The next line of its log that contains `text`; skips others.
    pub async fn logs(&mut self, text: &str) -> String {
        until(async || {
            let log = self.log();
            let rest = &log[self.read..];
            let found = rest.find(text)?;
            let end = found + rest[found..].find('\n')?;
            self.read += end + 1;
            rest[..end].lines().last().map(str::to_owned)
        })
        .await
    }

    /// A new API token with these options, once the server accepts it.
    pub async fn token(&self, name: &str, options: &[&str]) -> String {
        let printed = self.program.run(&[&["token", "add", name], options].concat(), "").await;
        let token = printed.lines().find(|line| line.starts_with("fdk_")).unwrap().to_owned();
        self.http().token(&token).until_status("/api/v1/token", StatusCode::OK).await;
        token
    }

    /// Revokes an API token, and waits until the server refuses it.
    pub async fn revoke(&self, name: &str, token: &str) {
        self.program.run(&["token", "revoke", name], "").await;
        self.http().token(token).until_status("/api/v1/token", StatusCode::UNAUTHORIZED).await;
    }

    /// A device that is connected.
    pub async fn device(&self, id: &str) -> Device {
        Device::logged_in(self.address, id).await
    }

    /// Lets a device that is registered log in by the account again, once.
    pub async fn allow_reregistration(&self, id: &str) {
        let store = self.program.folder.path().join("fedecks-data/fedecks.sqlite");
        let store = SqliteStore::open_beside(store, StoreOptions::default()).unwrap();
        let (id, until) = (DeviceId::new(id).unwrap(), unix_now() + 600);
        store.allow_reregistration(&id, until, &Actor::cli()).await.unwrap();
    }

    /// A client for its first address.
    pub fn http(&self) -> Http {
        Http::to(self.address)
    }
}
