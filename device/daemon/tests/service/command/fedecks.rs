//! Runs the command `fedecks`, to its end or next to the test.

use std::process::{ExitStatus, Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::support::scene::Scene;
use crate::support::{USER, fedecks, within};

impl Scene {
    /// Runs the command to its end, without standard input.
    pub(super) async fn run(&self, arguments: &[&str]) -> Ended {
        run_on(&self.bus.address(), arguments).await
    }

    /// The same with this input.
    pub(super) async fn run_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ended {
        run_with_on(&self.bus.address(), arguments, input).await
    }

    /// Starts a command that listens, and waits until it does.
    pub(super) async fn follow(&self, arguments: &[&str]) -> Following {
        let mut child = command(&self.bus.address(), arguments).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut following = Following { child, stdout: Some(stdout), stderr };
        let first = following.notes().await;
        assert!(first.contains("listening") || first.contains("waiting"), "{first}");
        following
    }
}

/// The account as `login --stdin` reads it.
pub(super) fn credentials(password: &str) -> String {
    format!(r#"{{"username":"{USER}","password":"{password}"}}"#)
}

/// The command with its output in pipes and without standard input.
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

pub(super) async fn run_with_on(bus: &str, arguments: &[&str], input: impl AsRef<[u8]>) -> Ended {
    let mut child = command(bus, arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // After an error the command does not read on.
    let _ = stdin.write_all(input.as_ref()).await;
    drop(stdin);
    ended(child).await
}

pub(super) async fn run_on(bus: &str, arguments: &[&str]) -> Ended {
    ended(command(bus, arguments).spawn().unwrap()).await
}

pub(super) async fn ended(child: Child) -> Ended {
    within(child.wait_with_output()).await.unwrap().into()
}

/// The result of a command.
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
    /// It succeeded, and printed nothing on standard error.
    #[track_caller]
    pub(super) fn succeeds(self) -> Self {
        assert!(self.status.success() && self.stderr.is_empty(), "{self:?}");
        self
    }

    /// It ended with this status and this text on standard error alone.
    #[track_caller]
    pub(super) fn fails(self, code: i32, text: &str) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert!(!self.stderr.is_empty() && self.stdout.is_empty(), "{self:?}");
        assert!(self.stderr.contains(text), "{self:?}");
    }
}

/// A command that listens.
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

    /// Closes its standard output, like `head` does.
    pub(super) fn close(&mut self) {
        self.stdout = None;
    }

    /// It ends with this status, and prints nothing more on standard error.
    pub(super) async fn ends(self, code: i32) {
        assert_eq!(self.ends_with(code, "").await, "");
    }

    /// It ends with this status and this text on standard error. Returns the rest of standard error.
    pub(super) async fn ends_with(mut self, code: i32, text: &str) -> String {
        let status = within(self.child.wait()).await.unwrap();
        let mut rest = String::new();
        within(self.stderr.into_inner().read_to_string(&mut rest)).await.unwrap();
        assert!(status.code() == Some(code) && rest.contains(text), "{status}: {rest}");
        rest
    }
}
