//! Standard input without echo, for passwords. What is asked, and what a signal does, is up to the
//! command.

use std::io::{self, Write};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};

/// Disables echo on the terminal at standard input until it is dropped.
#[derive(Debug)]
pub struct HiddenInput(Termios);

impl HiddenInput {
    /// Turns the echo off, and discards what was typed before the question could be read. Fails where
    /// standard input is not a terminal.
    pub fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHOE | LocalFlags::ECHOK);
        // Ctrl-Z would leave the terminal like this. The byte 0 turns a key off.
        hidden.control_chars[SpecialCharacterIndices::VSUSP as usize] = 0;
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // Does not wait for output, and does not lock standard input, which a reading thread may hold
        // until the process ends. A terminal that is gone needs nothing restored.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
        // The key that ended the line, or Ctrl-C, was not shown either.
        let _ = writeln!(io::stderr());
    }
}
