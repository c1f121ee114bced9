//! `fedecks listen --exec`: runs a program for a message.

use std::ffi::{OsStr, OsString};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Runs a program with `input` on its standard input, which it need not read, and waits until it exits.
/// Kills it after `limit`, or if the future is dropped.
pub(crate) async fn run(
    program: &OsStr,
    arguments: &[OsString],
    input: &[u8],
    limit: Duration,
) -> Result<(), String> {
    let name = program.to_string_lossy();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // An error means that the program has closed its input, which it may do.
            let _ = stdin.write_all(input).await;
        }
        std::future::pending().await
    };
    let ended = async {
        tokio::select! {
            ended = child.wait() => ended,
            never = feed => never,
        }
    };
    match timeout(limit, ended).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{name}: {status}")),
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => {
            let killed = child.kill().await;
            let limit = limit.as_secs_f64();
            Err(match killed {
                Ok(()) => format!("{name}: killed after {limit} s"),
                Err(error) => format!("{name}: cannot kill it after {limit} s: {error}"),
            })
        }
    }
}
