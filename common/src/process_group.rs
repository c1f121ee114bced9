//! A program in a separate process group, which is ended together with all that it has started in that group.

use std::fs;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// A running program. Dropping it kills the group; after its program has exited, it does nothing.
///
/// What has left the group, by `setsid` for example, is not ended.
#[derive(Debug)]
pub struct ProcessGroup {
    child: Child,
    group: Pid,
    has_exited: bool,
}

/// How often it is checked whether all processes are gone.
const POLL: Duration = Duration::from_millis(50);

/// How long killed processes may take to be gone; one that waits for a disk may take longer.
const REAP: Duration = Duration::from_secs(1);

impl ProcessGroup {
    /// How long the processes have to end between the first signal and SIGKILL.
    pub const GRACE: Duration = Duration::from_secs(3);

    /// Starts the program. It gets SIGTERM if the calling thread ends, in whatever way; so call this on a thread
    /// that lives as long as the process.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.process_group(0).kill_on_drop(true);
        let parent = getpid();
        #[expect(unsafe_code, reason = "there is no safe way to run something in the new process")]
        // SAFETY: between fork and exec only async-signal-safe functions may be called. This makes two system calls,
        // and allocates nothing.
        unsafe {
            command.pre_exec(move || end_with(parent));
        }
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Pid::from_raw(id.ok_or(Errno::ESRCH)?);
        Ok(Self { child, group, has_exited: false })
    }

    /// The program's standard input, if it is a pipe and was not taken yet.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The program's standard output and standard error, if they are pipes and were not taken yet.
    pub fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits until the program exits, and leaves alone what it has started and not waited for. After `limit`, ends
    /// the group as [`ProcessGroup::end`] does by SIGTERM, and returns `None`.
    pub async fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let Ok(exited) = timeout(limit, self.child.wait()).await else {
            return self.end(Signal::SIGTERM).await.map(|()| None);
        };
        self.has_exited = true;
        exited.map(Some)
    }

    /// Sends this signal to all processes of the group, and SIGKILL to those that are left after
    /// [`ProcessGroup::GRACE`]. Returns when none is left, or soon after SIGKILL.
    pub async fn end(&mut self, signal: Signal) -> io::Result<()> {
        self.send(signal)?;
        // To those that are stopped, as by reading from a terminal in the background.
        self.send(Signal::SIGCONT)?;
        if timeout(Self::GRACE, self.gone()).await.is_err() {
            self.send(Signal::SIGKILL)?;
            let _ = timeout(REAP, self.gone()).await;
        }
        self.has_exited = true;
        Ok(())
    }

    /// Waits until no process of the group is left. The group's number is not used again before that.
    async fn gone(&mut self) {
        // An error means that somebody else has waited for it.
        let _ = self.child.wait().await;
        while is_alive(self.group) {
            sleep(POLL).await;
        }
    }

    fn send(&self, signal: Signal) -> io::Result<()> {
        match killpg(self.group, signal) {
            // Nothing is left.
            Err(Errno::ESRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.has_exited {
            let _ = self.send(Signal::SIGKILL);
        }
    }
}

/// Called in the new process.
fn end_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGTERM)?;
    // It may have ended before.
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
}

/// Whether a process of the group is left. Zombies do not count: in a container nothing may wait for them.
fn is_alive(group: Pid) -> bool {
    if killpg(group, None) == Err(Errno::ESRCH) {
        return false;
    }
    // Without /proc, all that can be done is done after GRACE and REAP.
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    let group = group.to_string();
    processes.flatten().any(|process| {
        // PID (NAME) STATE PARENT GROUP ..., where a name may have any bytes.
        let stat = fs::read(process.path().join("stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split(' ').skip(1);
        !matches!(fields.next(), Some("Z" | "X") | None) && fields.nth(1) == Some(&group)
    })
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use nix::unistd::getsid;
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn dropping_it_kills_all_processes_of_the_group() {
        let mut group = ProcessGroup::spawn(&mut shell("trap '' TERM; sleep 600 & wait")).unwrap();
        let id = group.group;
        assert!(timeout(POLL, group.child.wait()).await.is_err());
        assert!(is_alive(id));
        drop(group);
        while is_alive(id) {
            sleep(POLL).await;
        }
    }

    #[tokio::test]
    async fn a_program_that_exits_leaves_its_background_alone() {
        let limit = Duration::from_secs(30);
        let mut group = ProcessGroup::spawn(&mut shell("sleep 600 & exit 3")).unwrap();
        let id = group.group;
        assert_eq!(group.wait(limit).await.unwrap().unwrap().code(), Some(3));
        drop(group);
        assert!(is_alive(id));
        killpg(id, Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn all_generations_end_but_not_what_has_left_the_group() {
        let script = "setsid sleep 600 & echo $!; sleep 600 & (sleep 600 & sleep 600) & wait";
        let mut group = ProcessGroup::spawn(shell(script).stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        BufReader::new(group.child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let outside = Pid::from_raw(line.trim().parse().unwrap());
        while getsid(Some(outside)) != Ok(outside) {
            sleep(POLL).await;
        }
        group.end(Signal::SIGTERM).await.unwrap();
        assert!(!is_alive(group.group));
        assert!(is_alive(outside));
        killpg(outside, Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn stopped_programs_are_continued_to_end() {
        let mut group = ProcessGroup::spawn(&mut shell("kill -STOP $$; exit 0")).unwrap();
        let stat = format!("/proc/{}/stat", group.group);
        while !fs::read_to_string(&stat).unwrap().contains(") T ") {
            sleep(POLL).await;
        }
        assert!(group.wait(Duration::ZERO).await.unwrap().is_none());
        assert!(!is_alive(group.group));
    }
}
