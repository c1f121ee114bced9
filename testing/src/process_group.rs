//! A program and all processes that it starts.

use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// A process and its descendants, which are killed when this is dropped.
pub struct ProcessGroup(pub Child);

impl ProcessGroup {
    /// Starts the first one, without input.
    pub fn spawn(command: &mut Command) -> std::io::Result<Self> {
        command.stdin(Stdio::null()).process_group(0).spawn().map(Self)
    }
}

impl ProcessGroup {
    /// Waits until the first process has ended, and kills the others.
    pub async fn ended(mut self) {
        let group = self.0.id().and_then(|id| i32::try_from(id).ok());
        let _ = self.0.wait().await;
        // As long as one of them lives, no other group has this id.
        if let Some(group) = group {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}
