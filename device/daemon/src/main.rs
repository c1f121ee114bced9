//! `fedecksd`: keeps a device connected to its cloud.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
fedecksd keeps this device connected to its cloud.

Usage: fedecksd [--config FILE] [--check]

Options:
  -c, --config FILE  configuration [default: /etc/fedecks/fedecks.toml; it may be missing if
                     FEDECKS_URL is set]
      --check        read the configuration, say what is wrong with it, and end
  -h, --help         print this text
  -V, --version      print the version

Environment: each key of the configuration can be set by a variable, which holds against the file:
FEDECKS_ and the key in capitals, such as FEDECKS_URL or FEDECKS_LOG (error, warn, info, debug,
trace). DBUS_SYSTEM_BUS_ADDRESS says where the system bus is.

Exit status: 0 after SIGTERM or SIGINT, 1 when something the service needs failed, 2 for wrong
arguments, 78 for a wrong configuration.
";

struct Arguments {
    config: Option<PathBuf>,
    check: bool,
}

enum Asked {
    Run(Arguments),
    Print(String),
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, lexopt::Error> {
    use lexopt::prelude::*;

    let mut parsed = Arguments { config: None, check: false };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('c') | Long("config") => parsed.config = Some(parser.value()?.into()),
            Long("check") => parsed.check = true,
            Short('h') | Long("help") => return Ok(Asked::Print(HELP.to_owned())),
            Short('V') | Long("version") => {
                return Ok(Asked::Print(format!("fedecksd {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Asked::Run(parsed))
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]
fn main() -> ExitCode {
    let arguments = match parse(std::env::args_os().skip(1)) {
        Ok(Asked::Run(arguments)) => arguments,
        Ok(Asked::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("fedecksd: {error}; see fedecksd --help");
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
            eprintln!("fedecksd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
