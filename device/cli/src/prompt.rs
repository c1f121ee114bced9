//! Prompts at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use fedecks_common::terminal::HiddenInput;

use crate::failure::Failure;
use crate::input;

/// Whether the terminal shows what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    On,
    Off,
}

/// Prompts for a line. The terminal is restored when this ends or is dropped.
pub(crate) async fn prompt(name: &str, echo: Echo) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "cannot prompt without a terminal; use --stdin, --claim - or --claim-file".into(),
        ));
    }
    let hidden = match echo {
        Echo::On => None,
        Echo::Off => Some(HiddenInput::new().map_err(|error| failed(&error))?),
    };
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{name}: ").and_then(|()| stderr.flush());
    let line = input::blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(|error| failed(&error))?;
        Ok(line)
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
