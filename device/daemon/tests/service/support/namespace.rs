//! Networks of the test's own, in namespaces.

use std::fs::File;
use std::process::Stdio;

use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::{skip, within};

/// A network with nothing in it but a loopback. It ends with this, and with whoever was started in
/// it.
pub(crate) struct Namespace {
    // It ends when its input does, so that nothing is left over however the test ends.
    holder: Child,
}

/// Sockets that this thread makes are in the namespace as long as this lives.
#[must_use]
pub(crate) struct Inside(File);

impl Namespace {
    /// None where this cannot be had, which is said then.
    pub(crate) async fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("network namespaces are made by root");
            return None;
        }
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        if within(lines.next_line()).await.unwrap().as_deref() != Some("ready") {
            skip("no network namespace, or no ip of the package iproute2");
            return None;
        }
        Some(Self { holder })
    }

    pub(crate) fn id(&self) -> u32 {
        self.holder.id().unwrap()
    }

    /// What to put before a command that runs in it.
    pub(crate) fn words(&self) -> [String; 3] {
        ["nsenter".to_owned(), format!("--net={}", self.file()), "--".to_owned()]
    }

    /// Runs commands in it, one a line, none of which may fail.
    pub(crate) async fn run(&self, commands: &str) {
        let mut words = self.words().to_vec();
        words.extend(["sh".into(), "-ec".into(), commands.into()]);
        let ended = within(Command::new(&words[0]).args(&words[1..]).output()).await.unwrap();
        let error = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{commands}: {error}");
    }

    /// Runs a command in it that gets this input, and does not fail.
    pub(crate) async fn feed(&self, command: &str, input: &str) {
        let words = self.words();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["sh", "-ec", command])
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        within(stdin.write_all(input.as_bytes())).await.unwrap();
        drop(stdin);
        assert!(within(child.wait()).await.unwrap().success(), "{command}");
    }

    pub(crate) fn inside(&self) -> Inside {
        let before = File::open("/proc/thread-self/ns/net").unwrap();
        setns(File::open(self.file()).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        Inside(before)
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.id())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
    }
}
