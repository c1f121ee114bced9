use std::io::{self, BufRead, IsTerminal, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::CliError;

/// Asks for a new password, twice, or reads it from standard input if that is no terminal.
pub(super) fn read(account: &str) -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let hidden = Hidden::new()?;
    let first = ask(&format!("Password for {account}: "))?;
    let second = ask("The same again: ")?;
    drop(hidden);
    if first == second { Ok(first) } else { Err(CliError::PasswordsDiffer) }
}

fn ask(question: &str) -> Result<String, CliError> {
    let show = |text: &str| {
        let mut terminal = io::stderr();
        terminal
            .write_all(text.as_bytes())
            .and_then(|()| terminal.flush())
            .map_err(CliError::io("ask for the password"))
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
        .map_err(CliError::io("read the password"))?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}

/// The terminal shows nothing of what is typed as long as this lives.
struct Hidden(Termios);

impl Hidden {
    fn new() -> Result<Self, CliError> {
        let failed = || CliError::io("keep the terminal from showing the password");
        let before = tcgetattr(io::stdin()).map_err(|error| failed()(error.into()))?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)
            .map_err(|error| failed()(error.into()))?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}
