//! Devices of the fleet in a separate process, and the end of the process that started it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use fedecks_testing::cloud::keyring;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::Target;
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::receiver::Receiver;
use crate::server::Kind;

/// How long all devices may take to connect, or to take all messages.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the process is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    /// The server.
    pub(crate) address: SocketAddr,
    /// The index of the first device.
    pub(crate) from: usize,
    pub(crate) count: usize,
    /// How many messages wait for each.
    pub(crate) each: u64,
}

/// Connects the devices, prints a line, takes all messages after one from the standard input, prints when each device
/// had them in seconds, and stays connected until the standard input ends.
#[expect(clippy::print_stdout, reason = "the times are for the process that started this one")]
pub(crate) fn run(task: Task) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Task { address, from, count, each } = task;
        let target = Target { kind: Kind::Fedecks, address, tls: None };
        let fleet = Fleet::connect(&target, &keyring(), from..from + count).await?;
        println!("connected");
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        lines.next_line().await?;
        let began = Instant::now();
        let mut running = JoinSet::new();
        for client in fleet.0 {
            running.spawn(async move {
                let mut receiver = Receiver::open(client).await?;
                receiver.take(each).await?;
                Ok::<_, Error>((receiver, began.elapsed()))
            });
        }
        let mut devices = Vec::with_capacity(count);
        while let Some(device) = running.join_next().await {
            let (device, took) = device??;
            println!("{}", took.as_secs_f64());
            devices.push(device);
        }
        while lines.next_line().await?.is_some() {}
        Ok(())
    })
}

/// A process with devices. It is killed when this is dropped.
pub(super) struct DeviceProcess {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    count: usize,
}

impl DeviceProcess {
    pub(super) fn start(address: SocketAddr, from: usize, count: usize, each: u64) -> Result<Self> {
        let numbers = [from.to_string(), count.to_string(), each.to_string()];
        let mut child = Command::new(std::env::current_exe()?)
            .args(["devices", &address.to_string()])
            .args(numbers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("a process has no standard input")?;
        let stdout = child.stdout.take().ok_or("a process has no standard output")?;
        Ok(Self { _child: child, stdin, lines: BufReader::new(stdout).lines(), count })
    }

    /// Waits until all devices are connected.
    pub(super) async fn connected(&mut self) -> Result<()> {
        self.line().await.map(drop)
    }

    /// Has all devices take their messages.
    pub(super) async fn go(&mut self) -> Result<()> {
        Ok(self.stdin.write_all(b"go\n").await?)
    }

    /// When each device had its messages, in seconds.
    pub(super) async fn times(&mut self) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            times.push(self.line().await?.parse()?);
        }
        Ok(times)
    }

    async fn line(&mut self) -> Result<String> {
        let line = timeout(PATIENCE, self.lines.next_line()).await??;
        line.ok_or_else(|| "a process with devices has ended".into())
    }
}
