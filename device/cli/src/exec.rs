//! `fedecks listen --exec` and `fedecks requests --exec`: runs a program for a message.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fedecks_common::ProcessGroup;
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, access};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Mutex;

/// Where programs are without PATH, as for the C library.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Fails if there is no such program now: a file, or without a slash in its name one in PATH.
pub(crate) fn find(program: &OsStr) -> Result<(), String> {
    let found = if program.as_bytes().contains(&b'/') {
        check(Path::new(program))
    } else {
        let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let is_there = env::split_paths(&path).any(|place| check(&place.join(program)).is_ok());
        is_there.then_some(()).ok_or_else(|| "no such program in PATH".to_owned())
    };
    found.map_err(|problem| {
        let program = program.to_string_lossy();
        let hint = if program.contains(' ') { "; write its arguments after --" } else { "" };
        format!("--exec {program}: {problem}{hint}")
    })
}

fn check(file: &Path) -> Result<(), String> {
    let is_file = file.metadata().map_err(|error| error.to_string())?.is_file();
    match is_file && access(file, AccessFlags::X_OK).is_ok() {
        true => Ok(()),
        false => Err("it is not an executable file".to_owned()),
    }
}

/// How much of a program's output is kept, in bytes; an answer must be smaller.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;

/// Reads to the end, and keeps a little more than [`MAX_OUTPUT`].
async fn read(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let limit = MAX_OUTPUT as u64 + 1;
    // An error means that nothing more can be read.
    let _ = (&mut output).take(limit).read_to_end(kept).await;
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
}

/// Why a program has not succeeded.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct ProgramError {
    text: String,
    /// It could not be started, or says so itself by its exit status [`TEMPFAIL`].
    pub(crate) is_temporary: bool,
}

/// The exit status of a program that may succeed later: EX_TEMPFAIL of sysexits.h.
const TEMPFAIL: i32 = 75;

/// Runs one program at a time. If the future of [`Runner::run`] is dropped, the program continues until
/// [`Runner::end`].
#[derive(Default)]
pub(crate) struct Runner(Mutex<Option<ProcessGroup>>);

impl Runner {
    /// Runs a program with `input` on its standard input, which it need not read, and these variables in its
    /// environment, and waits until it exits. After `limit` it is ended, with all that it has started.
    pub(crate) async fn run(
        &self,
        program: &OsStr,
        arguments: &[OsString],
        variables: &[(&str, String)],
        input: &[u8],
        limit: Duration,
    ) -> Result<(), ProgramError> {
        let name = program.to_string_lossy();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let failed = |problem: String, is_temporary| {
            let text = format!("{name}: {problem}");
            Err(ProgramError { text, is_temporary })
        };
        let mut running = self.0.lock().await;
        let group = match ProcessGroup::spawn(&mut command) {
            Ok(group) => group,
            Err(error) => return failed(error.to_string(), true),
        };
        let group = running.insert(group);
        let stdin = group.take_stdin();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // An error means that the program has closed its input, which it may do.
                let _ = stdin.write_all(input).await;
            }
            std::future::pending().await
        };
        let exited = tokio::select! {
            exited = group.wait(limit) => exited,
            never = feed => never,
        };
        *running = None;
        match exited {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => failed(status.to_string(), status.code() == Some(TEMPFAIL)),
            Ok(None) => failed(format!("killed after {} s", limit.as_secs_f64()), false),
            Err(error) => failed(error.to_string(), false),
        }
    }

    /// Runs a program like [`Runner::run`] and returns what it prints to standard output, or the last line of what it
    /// prints to standard error if it fails. It is also ended when `cancelled` completes.
    pub(crate) async fn ask(
        &self,
        program: &OsStr,
        arguments: &[OsString],
        input: &[u8],
        limit: Duration,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Vec<u8>, String> {
        let name = program.to_string_lossy();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.0.lock().await;
        let group =
            ProcessGroup::spawn(&mut command).map_err(|error| format!("{name}: {error}"))?;
        let group = running.insert(group);
        let (stdin, (stdout, stderr)) = (group.take_stdin(), group.take_output());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // An error means that the program has closed its input, which it may do.
                let _ = stdin.write_all(input).await;
            }
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let communicate = async {
            tokio::join!(feed, read(stdout, &mut out), read(stderr, &mut err));
        };
        let exited = tokio::select! {
            exited = async { tokio::join!(communicate, group.wait(limit)).1 } => exited,
            () = cancelled => group.end(Signal::SIGTERM).await.map(|()| None),
        };
        *running = None;
        match exited {
            Ok(Some(status)) if status.success() && out.len() <= MAX_OUTPUT => Ok(out),
            Ok(Some(status)) if status.success() => Err(format!("{name}: the answer is too big")),
            Ok(Some(status)) => {
                let text = String::from_utf8_lossy(&err);
                let last = text.lines().rev().find(|line| !line.trim().is_empty());
                Err(last.map_or_else(|| format!("{name}: {status}"), str::to_owned))
            }
            Ok(None) => Err(format!("{name}: it took too long, or is not wanted any longer")),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }

    /// Passes a signal on to the program that is running, if one is, and ends what is left of it after a grace.
    pub(crate) async fn end(&self, signal: Signal) {
        let running = self.0.lock().await.take();
        if let Some(mut group) = running {
            // If it fails, there is no one left to report it to.
            let _ = group.end(signal).await;
        }
    }
}
