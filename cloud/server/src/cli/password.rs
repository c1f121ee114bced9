//! Asks for a new password without showing it.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use fedecks_common::terminal::HiddenInput;
use futures_util::future::select_all;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use crate::error::ServerError;

/// Asks for a new password, twice, or reads it from standard input if that is not a terminal. A
/// signal that interrupts it restores the terminal.
pub(super) fn read(account: &str, runtime: Runtime) -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let account = account.to_owned();
    let ending = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    let answered = runtime.block_on(async {
        // First, as a signal that arrives before its handler is installed is lost.
        let listening = ending.iter().map(|kind| signal(*kind)).collect::<Result<Vec<_>, _>>();
        let mut signals = listening.map_err(ServerError::io("listen for signals"))?;
        let signalled = select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv())));
        let _hidden = HiddenInput::new().map_err(ServerError::io("hide the password"))?;
        let asking = tokio::task::spawn_blocking(move || ask_twice(&account));
        tokio::select! {
            answered = asking => {
                answered.map_err(|error| ServerError::io("ask for the password")(error.into()))?
            }
            (_, index, _) = signalled => Err(CliError::Signal(ending[index].as_raw_value())),
        }
    });
    // After a signal the reading thread is still blocked; it ends with the process.
    runtime.shutdown_background();
    answered
}

fn ask_twice(account: &str) -> Result<String, CliError> {
    let first = ask(&format!("Password for {account}: "))?;
    // The line end that the user typed is not shown.
    let second = ask("\nRepeat the password: ")?;
    if first == second { Ok(first) } else { Err(CliError::PasswordsDiffer) }
}

fn ask(question: &str) -> Result<String, CliError> {
    let mut terminal = io::stderr();
    terminal
        .write_all(question.as_bytes())
        .and_then(|()| terminal.flush())
        .map_err(ServerError::io("ask for the password"))?;
    read_line()
}

/// A line without its end. Reads no more than a multiple of the longest password.
fn read_line() -> Result<String, CliError> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(8192)
        .read_line(&mut line)
        .map_err(ServerError::io("read the password"))?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}
