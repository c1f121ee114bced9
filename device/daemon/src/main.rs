//! The program `fedecksd`: its command line and exit status. The service itself is the library.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use fedecks_common::log::{self, FlushOnDrop};
use fedecks_daemon::CheckReport;

const HELP: &str = "\
fedecksd keeps this device connected to its cloud.

Usage: fedecksd [--config FILE] [--check [--user NAME]]

Options:
  -c, --config FILE  configuration file [default: /etc/fedecks/fedecks.toml, optional if
                     FEDECKS_URL is set]
      --check        check the configuration, and the files and the data directory that it names,
                     and exit; writes nothing and does not use the network
      --user NAME    the user that root checks as [default: fedecks, if there is one]
  -h, --help         print this help
  -V, --version      print the version

Environment: FEDECKS_ and a key of the configuration in capitals overrides the file, such as
FEDECKS_URL or FEDECKS_LOG (error, warn, info, debug, trace). DBUS_SYSTEM_BUS_ADDRESS is the
address of the system bus.

Exit status:
  0   ended by SIGTERM or SIGINT, or a check without warnings
  1   any other failure
  2   invalid arguments
  3   --check: the service would run, with warnings
  75  another process uses the data directory
  78  invalid configuration
";

struct Arguments {
    config: Option<PathBuf>,
    check: bool,
    user: Option<String>,
}

enum Command {
    Run(Arguments),
    Print(String),
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;

    let mut parsed = Arguments { config: None, check: false, user: None };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('c') | Long("config") => parsed.config = Some(parser.value()?.into()),
            Long("check") => parsed.check = true,
            Long("user") => parsed.user = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(Command::Print(HELP.to_owned())),
            Short('V') | Long("version") => {
                return Ok(Command::Print(format!("fedecksd {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    if parsed.user.is_some() && !parsed.check {
        return Err("--user requires --check".into());
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
    let config = arguments.config.as_deref();
    let result = if arguments.check {
        fedecks_daemon::check(config, arguments.user.as_deref()).map(|report| {
            println!("{}", report.summary);
            for warning in &report.warnings {
                println!("warning: {warning}");
            }
            match report.warnings.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(CheckReport::WARNINGS_EXIT_CODE),
            }
        })
    } else {
        fedecks_daemon::run(config).map(|()| ExitCode::SUCCESS)
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            log::print(&format!("fedecksd: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
