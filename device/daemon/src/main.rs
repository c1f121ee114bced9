//! The program `fedecksd`: its command line and exit status. The service itself is the library.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use fedecks_common::log::{self, FlushOnDrop};

const HELP: &str = "\
fedecksd keeps this device connected to its cloud.

Usage: fedecksd [--config FILE] [--check]

Options:
  -c, --config FILE  configuration file [default: /etc/fedecks/fedecks.toml, optional if
                     FEDECKS_URL is set]
      --check        check the configuration and exit
  -h, --help         print this help
  -V, --version      print the version

Environment: FEDECKS_ and a key of the configuration in capitals overrides the file, such as
FEDECKS_URL or FEDECKS_LOG (error, warn, info, debug, trace). DBUS_SYSTEM_BUS_ADDRESS is the
address of the system bus.

Exit status: 0 after SIGTERM or SIGINT, 1 after a failure, 2 for invalid arguments, 78 for an
invalid configuration.
";

struct Arguments {
    config: Option<PathBuf>,
    check: bool,
}

enum Command {
    Run(Arguments),
    Print(String),
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;

    let mut parsed = Arguments { config: None, check: false };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('c') | Long("config") => parsed.config = Some(parser.value()?.into()),
            Long("check") => parsed.check = true,
            Short('h') | Long("help") => return Ok(Command::Print(HELP.to_owned())),
            Short('V') | Long("version") => {
                return Ok(Command::Print(format!("fedecksd {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Command::Run(parsed))
}

#[expect(clippy::print_stdout, reason = "the output of a command")]
fn main() -> ExitCode {
    let _flush = FlushOnDrop;
    let arguments = match parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(arguments)) => arguments,
        Ok(Command::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            log::print(&format!("fedecksd: {error}; see fedecksd --help"));
            return ExitCode::from(2);
        }
    };
    let result = if arguments.check {
        fedecks_daemon::check(arguments.config.as_deref()).map(|summary| println!("{summary}"))
    } else {
        fedecks_daemon::run(arguments.config.as_deref())
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::print(&format!("fedecksd: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
