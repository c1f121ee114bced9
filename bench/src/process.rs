//! A measured server in a separate process, and the resources that the kernel accounts to it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fedecks_testing::wait::within;
use nix::time::ClockId;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::error::Result;
use crate::identity::Certificate;
use crate::server::Kind;

/// A server in a separate process, which ends with this one: it reads its standard input to the end.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) usage: Usage,
}

impl ServerProcess {
    pub(crate) async fn start(
        kind: Kind,
        tls: Option<&Certificate>,
        folder: &Path,
        under: &[String],
    ) -> Result<Self> {
        let this = std::env::current_exe()?;
        let mut words = under.iter().map(OsStr::new).chain([this.as_os_str()]);
        let mut command = Command::new(words.next().ok_or("no command to start a server by")?);
        command.args(words).args(["server", kind.name(), "--folder"]).arg(folder);
        if let Some(certificate) = tls {
            command.arg("--certificate").arg(&certificate.chain).arg("--key").arg(&certificate.key);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("the server has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = within(lines.next_line()).await?;
        let address = first.ok_or("the server ended before it listened")?.parse()?;
        let usage = Usage::of(child.id().ok_or("the server ended as soon as it listened")?)?;
        Ok(Self { child, address, usage })
    }

    /// Ends the server, which must not have failed before.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = within(self.child.wait()).await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}

/// Reads the resource usage of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pid: u32,
    clock: ClockId,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid)?))?;
        Ok(Self { pid, clock })
    }

    /// The CPU time of all its threads, user and system, to the nanosecond.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(self.clock.now()?.into())
    }

    /// How often its threads have gone to sleep voluntarily, and so were woken, since they began.
    pub(crate) fn voluntary_switches(&self) -> Result<u64> {
        let mut sum = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum += line.ok_or("no voluntary_ctxt_switches")?.trim().parse::<u64>()?;
        }
        Ok(sum)
    }

    /// The peak of its resident memory, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let field = |name: &str| -> Result<u64> {
            let line = rollup.lines().find(|line| line.starts_with(name));
            let kib = line.and_then(|line| line.split_whitespace().nth(1));
            let kib = kib.ok_or_else(|| format!("smaps_rollup has no {name}"))?;
            Ok(kib.parse::<u64>()? * 1024)
        };
        Ok(Memory { resident: field("Rss:")?, anonymous: field("Anonymous:")? })
    }
}

pub(crate) struct Memory {
    /// All that is resident, code and shared libraries included.
    pub(crate) resident: u64,
    /// Heap and stacks: what grows with the connections.
    pub(crate) anonymous: u64,
}
