//! Asks for a new password without showing it.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use fedecks_common::terminal::HiddenInput;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;
use crate::error::ServerError;

/// Asks for a new password, twice, or reads it from standard input if that is not a terminal. A
/// signal that interrupts it restores the terminal.
pub(super) fn read(account: &str, runtime: Runtime) -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let account = account.to_owned();
    let answered = runtime.block_on(async {
        // First, as a signal that arrives before its handler is installed is lost.
        let mut signals = Signals::listen()?;
        let _hidden = HiddenInput::new().map_err(ServerError::io("hide the password"))?;
        let asking = tokio::task::spawn_blocking(move || ask_twice(&account));
        tokio::select! {
            answered = asking => {
                answered.map_err(|error| ServerError::io("ask for the password")(error.into()))?
            }
            number = signals.next() => Err(CliError::Signal(number)),
        }
    });
    // After a signal the reading thread is still blocked; it ends with the process.
    runtime.shutdown_background();
    answered
}

/// The signals that end programs.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> Result<Self, ServerError> {
        let listen = |kind| signal(kind).map_err(ServerError::io("listen for signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    /// The number of the first signal that arrives.
    async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
            _ = self.quit.recv() => SignalKind::quit(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or(u8::MAX)
    }
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
