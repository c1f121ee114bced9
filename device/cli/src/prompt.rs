//! Asks somebody at a terminal.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};

use crate::failure::Failure;
use crate::input;

/// Whether what is typed can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Yes,
    No,
}

/// Asks whoever sits at the terminal. The terminal is as it was when this ends, also when it is
/// dropped in between.
pub(crate) async fn ask(name: &str, shown: Shown) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal to ask at; use --stdin and give the credentials as JSON".into(),
        ));
    }
    let hidden = match shown {
        Shown::Yes => None,
        Shown::No => Some(Hidden::begin().map_err(|error| failed(&error))?),
    };
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{name}: ").and_then(|()| stderr.flush());
    let line = input::blocking(|| {
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(_) => Ok(line),
            Err(error) => Err(failed(&error)),
        }
    })
    .await;
    drop(hidden);
    match line?.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(Failure::Usage(format!("no {name} was given"))),
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::Failed(format!("the terminal: {error}"))
}

/// A terminal that does not show what is typed, while this lives.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn begin() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHOE | LocalFlags::ECHOK);
        // Ctrl-Z would leave the terminal like this. The byte 0 turns a key off.
        quiet.control_chars[SpecialCharacterIndices::VSUSP as usize] = 0;
        // What was typed before the question was seen is not the answer.
        tcsetattr(stdin.as_fd(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.before);
        // The key that ended the line, or Ctrl-C, was not shown either.
        let _ = writeln!(io::stderr());
    }
}
