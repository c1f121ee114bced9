//! Runs a program when the cloud has been out of reach for too long.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use fedecks_device::Client;
use fedecks_device::clock::{Alarm, BootClock};
use fedecks_device::storage::{AtomicFile, StoreError};
use fedecks_device_core::{State, Unreachable};
use tokio::process::Command;
use tracing::{debug, error, info, warn};

use crate::blocking::blocking;

/// What is done when the cloud has been out of reach for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreachableAction {
    /// The program that is run, without arguments.
    pub program: PathBuf,
    /// For how long the first time; each further time waits twice as long, up to 32 times this,
    /// until the cloud is reached again.
    pub after: Duration,
}

/// How long the program may run before it is killed.
const DEADLINE: Duration = Duration::from_secs(300);

impl UnreachableAction {
    /// For how long the cloud has to be out of reach where nothing else is said.
    pub const DEFAULT_AFTER: Duration = Duration::from_secs(24 * 3_600);

    /// What is wrong with the program now, if anything is. It may be on a partition that is mounted
    /// later. Blocks on the disk.
    pub fn problem(&self) -> Option<String> {
        let program = self.program.display();
        match self.program.metadata() {
            Err(error) => Some(format!("unreachable_action {program}: {error}")),
            Ok(file) if !file.is_file() || file.permissions().mode() & 0o111 == 0 => {
                Some(format!("unreachable_action {program} is not a program that can be run"))
            }
            Ok(_) => None,
        }
    }
}

/// Watches the client and runs the program when it is time, until the client ends. How often that
/// was is kept in `data_dir`: where it cannot be written the program is not run, as nothing would
/// keep a device from being restarted again and again.
pub(crate) async fn watch(
    client: Client,
    action: UnreachableAction,
    data_dir: PathBuf,
) -> io::Result<()> {
    let looked_at = action.clone();
    if let Some(problem) = blocking(move || looked_at.problem()).await {
        warn!(problem, "what is to be run when the cloud stays away cannot be run now");
    }
    let record = Record(AtomicFile::new(data_dir, "unreachable"));
    let mut alarm = Alarm::new()?;
    let mut status = client.watch_status();
    let mut unreachable = Unreachable::new(action.after, record.read().await.unwrap_or(0));
    // How often it was, as far as the disk knows; a partition that is missing may know more.
    let mut on_disk = unreachable.times();
    let mut seen_refusal = None;
    let mut seen_connected = None;
    loop {
        let now = BootClock::now();
        {
            let status = status.borrow_and_update();
            // It may have come and gone since the last look: the program runs for minutes.
            if status.last_connected != seen_connected {
                seen_connected = status.last_connected;
                unreachable.handle_state(now, State::Connected);
            }
            unreachable.handle_state(now, status.state);
            if status.last_refusal != seen_refusal {
                seen_refusal = status.last_refusal;
                unreachable.handle_refusal(now);
            }
        }
        if on_disk > 0 && unreachable.times() == 0 {
            match record.clear().await {
                Ok(()) => on_disk = 0,
                // It is tried again at the next change of the status, each ping's round trip say.
                Err(error) => debug!(%error, "that the cloud is reached again is not on disk yet"),
            }
        }
        alarm.set(unreachable.poll_timeout())?;
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return Ok(()) },
            fired = alarm.fired() => {
                fired?;
                // The data partition may have come since the last look.
                on_disk = on_disk.max(record.read().await.unwrap_or(0));
                unreachable.handle_loaded(on_disk);
                if let Some(out_of_reach) = unreachable.handle_timeout(BootClock::now()) {
                    act(&action.program, out_of_reach, unreachable.times(), &record).await;
                    on_disk = unreachable.times();
                }
            }
        }
    }
}

async fn act(program: &Path, out_of_reach: Duration, times: u32, record: &Record) {
    let seconds = out_of_reach.as_secs();
    let program = program.display();
    if let Err(error) = record.write(times).await {
        return error!(
            %error, %program, seconds,
            "the cloud is out of reach, but the program is not run: how often it was cannot be kept"
        );
    }
    warn!(%program, seconds, times, "the cloud is out of reach, running the program");
    match run(&program.to_string(), seconds, times).await {
        Ok(status) if status.success() => info!(%program, "the program ended well"),
        Ok(status) => error!(%program, %status, "the program failed"),
        Err(error) => error!(%program, %error, "the program failed"),
    }
}

/// It is told why it runs, and nothing that is between the service and systemd.
async fn run(program: &str, seconds: u64, times: u32) -> io::Result<ExitStatus> {
    let mut child = Command::new(program)
        .env("FEDECKS_UNREACHABLE_SECONDS", seconds.to_string())
        .env("FEDECKS_UNREACHABLE_TIMES", times.to_string())
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    match tokio::time::timeout(DEADLINE, child.wait()).await {
        Ok(ended) => ended,
        Err(_) => {
            child.kill().await?;
            Err(io::Error::other(format!("killed, as it ran for {} s", DEADLINE.as_secs())))
        }
    }
}

/// How often the program was run since the cloud was reached last, on disk.
struct Record(AtomicFile);

impl Record {
    async fn read(&self) -> Option<u32> {
        let file = self.0.clone();
        let read = blocking(move || file.read(parse)).await;
        read.unwrap_or_else(|error| {
            warn!(%error, "how often the program was run is not known");
            None
        })
    }

    async fn write(&self, times: u32) -> Result<(), StoreError> {
        let file = self.0.clone();
        blocking(move || file.write(&format!("times {times}\n"))).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        let file = self.0.clone();
        blocking(move || file.remove()).await
    }
}

fn parse(body: &str) -> Option<u32> {
    body.strip_prefix("times ")?.strip_suffix('\n')?.parse().ok()
}
