//! Network namespaces.

use std::fs::File;
use std::process::Stdio;

use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::wait::{is_root, skip, within};

/// A network namespace with a loopback only. It lives as long as this and the processes in it.
pub struct Namespace {
    // Its input ends with the test in any case, and it ends with its input.
    holder: Child,
}

/// A namespace, for another thread.
pub struct Handle(File);

/// While this lives, new sockets of this thread are in the namespace.
#[must_use]
pub struct Inside(File);

impl Namespace {
    /// None, and the test is skipped, if there can be no namespace.
    pub async fn new() -> Option<Self> {
        if !is_root() {
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

    /// The process that holds it, for `ip link ... netns`.
    pub fn id(&self) -> u32 {
        self.holder.id().unwrap()
    }

    /// The prefix of a command that runs in it.
    pub fn words(&self) -> [String; 3] {
        ["nsenter".to_owned(), format!("--net={}", self.file()), "--".to_owned()]
    }

    /// Runs shell commands in it, which must succeed.
    pub async fn run(&self, commands: &str) {
        self.feed(commands, "").await;
    }

    /// The same with this input.
    pub async fn feed(&self, command: &str, input: &str) {
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

    /// Moves this thread into it for a while. So are processes that it starts then.
    pub fn inside(&self) -> Inside {
        self.handle().inside()
    }

    /// For another thread.
    pub fn handle(&self) -> Handle {
        Handle(File::open(self.file()).unwrap())
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.id())
    }
}

impl Handle {
    /// Moves this thread into the namespace for a while.
    pub fn inside(&self) -> Inside {
        let before = File::open("/proc/thread-self/ns/net").unwrap();
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
        Inside(before)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
    }
}
