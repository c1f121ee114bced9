//! Runs a program when the cloud has been unreachable for too long.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use fedecks_common::ProcessGroup;
use fedecks_device::Client;
use fedecks_device::clock::{Alarm, BootClock};
use fedecks_device::storage::{AtomicFile, DataDir, StoreError};
use fedecks_device_core::{State, Unreachable};
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::blocking::blocking;

/// The program to run when the cloud has been unreachable for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreachableAction {
    /// The program, which gets no arguments.
    pub program: PathBuf,
    /// After how long it runs the first time. Each further time is twice as long, up to 32 times this, until
    /// the cloud is reached again.
    pub after: Duration,
}

/// How long the program may run before it is ended, with all that it has started.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How long ending it may take: its grace, and the time after SIGKILL.
const END_TIMEOUT: Duration = ProcessGroup::GRACE.saturating_add(Duration::from_secs(2));

impl UnreachableAction {
    /// The default of [`UnreachableAction::after`].
    pub const DEFAULT_AFTER: Duration = Duration::from_secs(24 * 3_600);

    /// Why the program cannot be run now, if so; it may be on a partition that is mounted later. Blocks on the
    /// disk.
    pub fn problem(&self) -> Option<String> {
        let program = self.program.display();
        match self.program.metadata() {
            Err(error) => Some(format!("unreachable_action {program}: {error}")),
            Ok(file) if !file.is_file() || file.permissions().mode() & 0o111 == 0 => {
                Some(format!("unreachable_action {program} is not an executable file"))
            }
            Ok(_) => None,
        }
    }
}

/// The task that watches the cloud, and runs the program.
pub(crate) struct WatchedCloud {
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl WatchedCloud {
    /// Runs the program when it is due, until the client ends. The number of runs is kept in `data_dir`; the
    /// program is not run if it cannot be saved, as the device could be restarted over and over.
    pub(crate) fn start(client: Client, action: UnreachableAction, data_dir: &DataDir) -> Self {
        let record = Record(AtomicFile::new(data_dir, "unreachable"));
        let (ending, end) = watch::channel(false);
        let task = tokio::spawn(async move {
            if let Err(error) = run(client, action, record, end).await {
                error!(%error, "cannot create a timer, unreachable_action is disabled");
            }
        });
        Self { ending, task }
    }

    /// Ends the program if it is running, with all that it has started, within a few seconds.
    pub(crate) async fn end(self) {
        // Fails if the task has ended.
        let _ = self.ending.send(true);
        let _ = timeout(END_TIMEOUT, self.task).await;
    }
}

async fn run(
    client: Client,
    action: UnreachableAction,
    record: Record,
    mut end: watch::Receiver<bool>,
) -> io::Result<()> {
    let checked = action.clone();
    if let Some(problem) = blocking(move || checked.problem()).await {
        warn!(problem, "unreachable_action cannot be run now");
    }
    let mut alarm = Alarm::new()?;
    let mut status = client.watch_status();
    let mut unreachable = Unreachable::new(action.after, record.read().await.unwrap_or(0));
    // The number of runs on disk, as far as known; a missing partition may have a higher one.
    let mut on_disk = unreachable.times();
    let mut seen_refusal = None;
    let mut seen_connected = None;
    loop {
        let now = BootClock::now();
        {
            let status = status.borrow_and_update();
            // There may have been a short connection while the program ran, which takes minutes.
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
                // Retried at the next change of the status, such as each ping's round trip.
                Err(error) => {
                    debug!(%error, "cannot reset the number of runs of unreachable_action yet")
                }
            }
        }
        alarm.set(unreachable.poll_timeout())?;
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return Ok(()) },
            () = asked_to_end(&mut end) => return Ok(()),
            fired = alarm.fired() => {
                fired?;
                // The data partition may have been mounted in the meantime.
                on_disk = on_disk.max(record.read().await.unwrap_or(0));
                unreachable.handle_loaded(on_disk);
                if let Some(unreachable_for) = unreachable.handle_timeout(BootClock::now()) {
                    let times = unreachable.times();
                    run_recorded(&action.program, unreachable_for, times, &record, &mut end).await;
                    on_disk = unreachable.times();
                }
            }
        }
    }
}

async fn run_recorded(
    program: &Path,
    unreachable_for: Duration,
    times: u32,
    record: &Record,
    end: &mut watch::Receiver<bool>,
) {
    let seconds = unreachable_for.as_secs();
    let program = program.display();
    if let Err(error) = record.write(times).await {
        return error!(
            %error, %program, seconds,
            "the cloud is unreachable, but unreachable_action is not run: cannot save the number of runs"
        );
    }
    warn!(%program, seconds, times, "the cloud is unreachable, running unreachable_action");
    let mut command = command(&program.to_string(), seconds, times);
    match run_program(&mut command, TIMEOUT, end).await {
        Ok(status) if status.success() => info!(%program, "unreachable_action succeeded"),
        Ok(status) => error!(%program, %status, "unreachable_action failed"),
        Err(error) => error!(%program, %error, "unreachable_action failed"),
    }
}

async fn asked_to_end(end: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, as the service ends.
    let _ = end.wait_for(|end| *end).await;
}

/// The program gets the reason in its environment, but not the variables of systemd's protocol.
fn command(program: &str, seconds: u64, times: u32) -> Command {
    let mut command = Command::new(program);
    command
        .env("FEDECKS_UNREACHABLE_SECONDS", seconds.to_string())
        .env("FEDECKS_UNREACHABLE_TIMES", times.to_string())
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null());
    command
}

async fn run_program(
    command: &mut Command,
    limit: Duration,
    end: &mut watch::Receiver<bool>,
) -> io::Result<ExitStatus> {
    let mut group = ProcessGroup::spawn(command)?;
    tokio::select! {
        exited = group.wait(limit) => match exited? {
            Some(status) => Ok(status),
            None => Err(io::Error::other(format!("killed after {} s", limit.as_secs()))),
        },
        () = asked_to_end(end) => {
            group.end(Signal::SIGTERM).await?;
            Err(io::Error::other("ended, as the service ends"))
        }
    }
}

/// The number of runs since the cloud was last reached, on disk.
struct Record(AtomicFile);

impl Record {
    async fn read(&self) -> Option<u32> {
        let file = self.0.clone();
        let read = blocking(move || file.read(parse)).await;
        read.unwrap_or_else(|error| {
            warn!(%error, "cannot read the number of runs of unreachable_action");
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

#[cfg(test)]
mod tests {
    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    use super::*;

    #[tokio::test]
    async fn a_program_that_takes_too_long_ends_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let script = format!("trap '' TERM; sleep 600 & echo $! > {}; wait", file.display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]);
        let (_ending, mut end) = watch::channel(false);
        let error = run_program(&mut shell, Duration::from_secs(1), &mut end).await.unwrap_err();
        assert_eq!(error.to_string(), "killed after 1 s");
        let child = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // A zombie counts as gone: it may have no parent that waits for it.
        assert!(kill(Pid::from_raw(child), None).is_err() || stat.contains(") Z "), "{stat}");
    }
}
