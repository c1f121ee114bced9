//! Asks for a password without showing it.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;
use crate::error::ServerError;

/// Asks for a new password, twice, or reads it from standard input if that is no terminal. A signal
/// that ends it meanwhile leaves the terminal as it was.
pub(super) fn read(account: &str, runtime: Runtime) -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let account = account.to_owned();
    let answered = runtime.block_on(async {
        // First of all: a signal that comes while its handler is put in place is lost.
        let mut signals = Signals::listen()?;
        let _hidden = Hidden::new()?;
        let asking = tokio::task::spawn_blocking(move || ask_twice(&account));
        tokio::select! {
            answered = asking => answered.map_err(|error| ServerError::io("ask for the password")(error.into()))?,
            number = signals.next() => Err(CliError::Signal(number)),
        }
    });
    // The thread that reads goes on reading after a signal, and ends with the process.
    runtime.shutdown_background();
    answered
}

/// Those that end programs.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> Result<Self, ServerError> {
        let listen = |kind| signal(kind).map_err(ServerError::io("listen to signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    /// The number of the first that comes.
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
    let second = ask("The same again: ")?;
    if first == second { Ok(first) } else { Err(CliError::PasswordsDiffer) }
}

fn ask(question: &str) -> Result<String, CliError> {
    let show = |text: &str| {
        let mut terminal = io::stderr();
        terminal
            .write_all(text.as_bytes())
            .and_then(|()| terminal.flush())
            .map_err(ServerError::io("ask for the password"))
    };
    show(question)?;
    let answer = read_line();
    // The user's own line end is not shown either.
    show("\n")?;
    answer
}

/// A line without its end. Far more than a password has is not read.
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

/// The terminal shows nothing of what is typed as long as this lives.
struct Hidden(Termios);

impl Hidden {
    fn new() -> Result<Self, ServerError> {
        let failed = || ServerError::io("keep the terminal from showing the password");
        let before = tcgetattr(io::stdin()).map_err(|error| failed()(error.into()))?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        // Ctrl-Z would leave the terminal like this. The byte 0 turns a key off.
        hidden.control_chars[SpecialCharacterIndices::VSUSP as usize] = 0;
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)
            .map_err(|error| failed()(error.into()))?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back. What is still written to it is not waited
        // for, and the thread that reads may hold standard input for ever.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
