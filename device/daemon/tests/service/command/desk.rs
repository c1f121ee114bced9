use std::process::{ExitStatus, Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::support::bus::Bus;
use crate::support::cloud::{By, Cloud, PASSWORD, Seen, USER};
use crate::support::fedecksd::{Fedecksd, Setup};
use crate::support::{fedecks, within};

/// Where somebody sits and types commands: a bus, the service, and its cloud.
pub(super) struct Desk {
    pub(super) bus: Bus,
    pub(super) cloud: Cloud,
    pub(super) setup: Setup,
    pub(super) service: Fedecksd,
}

impl Desk {
    /// The service waits for a login. None where no bus can be.
    pub(super) async fn unregistered() -> Option<Self> {
        let desk = Self::set_up(|setup| setup).await?;
        desk.run(&["status", "--wait", "unregistered"]).await.is(0);
        Some(desk)
    }

    /// The service is connected.
    pub(super) async fn connected() -> Option<Self> {
        let mut desk = Self::set_up(Setup::with_credentials).await?;
        assert_eq!(desk.cloud.next().await, Seen::Connected(By::Credentials));
        desk.run(&["status", "--wait", "connected"]).await.is(0);
        Some(desk)
    }

    async fn set_up(change: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        let bus = Bus::start().await?;
        let cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
        let setup = Setup::new(&format!("ws://{}", cloud.address))
            .variable("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
        let setup = change(setup);
        let service = setup.start();
        Some(Self { bus, cloud, setup, service })
    }

    /// Runs the command to its end, without anything on its standard input.
    pub(super) async fn run(&self, arguments: &[&str]) -> Ended {
        run_on(&self.bus.address(), arguments).await
    }

    /// Runs the command to its end with this on its standard input.
    pub(super) async fn give(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut child =
            command(&self.bus.address(), arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that has found a mistake need not read on.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        ended(child).await
    }

    /// Starts the command and goes on as soon as it follows what the service says.
    pub(super) async fn follow(&self, arguments: &[&str]) -> Following {
        let mut child = command(&self.bus.address(), arguments).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut following = Following { child, stdout: Some(stdout), stderr };
        let first = following.notes().await;
        assert!(first.contains("listening") || first.contains("waiting"), "{first}");
        following
    }

    pub(super) async fn log_in(&mut self) {
        self.give(&["login", "--stdin"], credentials(PASSWORD).as_bytes()).await.is(0);
        assert_eq!(self.cloud.next().await, Seen::Connected(By::Credentials));
    }
}

/// Our account, as `login --stdin` takes it.
pub(super) fn credentials(password: &str) -> String {
    format!(r#"{{"username":"{USER}","password":"{password}"}}"#)
}

/// The command, its output in pipes and nothing on its standard input.
pub(super) fn command(bus: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(fedecks());
    command
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(super) async fn run_on(bus: &str, arguments: &[&str]) -> Ended {
    ended(command(bus, arguments).spawn().unwrap()).await
}

pub(super) async fn ended(child: Child) -> Ended {
    within(child.wait_with_output()).await.unwrap().into()
}

/// What a command came to.
#[derive(Debug)]
pub(super) struct Ended {
    status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    pub(super) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// It ended with this status; one that failed said why, and nothing else.
    #[track_caller]
    pub(super) fn is(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:?}");
        assert_eq!(code == 0, self.stderr.is_empty(), "{self:?}");
        assert!(code == 0 || self.stdout.is_empty(), "{self:?}");
        self
    }

    /// It ended with this status and this word about it.
    #[track_caller]
    pub(super) fn fails(self, code: i32, says: &str) {
        let ended = self.is(code);
        assert!(ended.stderr.contains(says), "{ended:?}");
    }
}

/// A command that goes on.
pub(super) struct Following {
    pub(super) child: Child,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Following {
    /// The next line on standard output.
    pub(super) async fn prints(&mut self) -> String {
        within(self.stdout.as_mut().unwrap().next_line()).await.unwrap().expect("it ended")
    }

    /// The next line on standard error.
    pub(super) async fn notes(&mut self) -> String {
        within(self.stderr.next_line()).await.unwrap().expect("it ended")
    }

    /// Reads no more, as `head` does when it has enough.
    pub(super) fn close(&mut self) {
        self.stdout = None;
    }

    /// Its exit status, and what else it said on standard error.
    pub(super) async fn end(mut self) -> (Option<i32>, String) {
        let status = within(self.child.wait()).await.unwrap();
        let mut said = String::new();
        within(self.stderr.into_inner().read_to_string(&mut said)).await.unwrap();
        (status.code(), said)
    }
}
