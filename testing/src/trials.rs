//! How the programs that run trials begin.

use std::fmt::Display;
use std::process::ExitCode;

/// What the command line of such a program asks for.
pub enum Command<O> {
    /// The usage.
    Help,
    /// Trials.
    Run(O),
}

/// The options; otherwise prints the usage, or what is wrong, and returns the status with which the program ends.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is for programs for a terminal"
)]
pub fn options<O>(
    program: &str,
    usage: &str,
    parsed: Result<Command<O>, impl Display>,
) -> Result<O, ExitCode> {
    match parsed {
        Ok(Command::Run(options)) => Ok(options),
        Ok(Command::Help) => {
            println!("{usage}");
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{program}: {error}; see --help");
            Err(ExitCode::from(2))
        }
    }
}
