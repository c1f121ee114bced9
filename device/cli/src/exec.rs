//! Runs a program for a message.

use std::ffi::{OsStr, OsString};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Runs a program with `input` on its standard input, and waits for its end, for `limit` at most;
/// then it is killed. It need not read its input. Dropping this kills it as well.
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
            // An error means that it reads no more, which is its own affair.
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
                Ok(()) => format!("{name}: killed, it took longer than {limit} s"),
                Err(error) => {
                    format!("{name}: took longer than {limit} s, and not killed: {error}")
                }
            })
        }
    }
}
