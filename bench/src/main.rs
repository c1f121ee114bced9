//! What an idle connection, a message, a ping and a handshake cost: our server next to other
//! WebSocket servers, each in a separate process, in turn. Run by `ci/bench`.

#![allow(clippy::wildcard_enum_match_arm, reason = "anything unexpected is an error")]

mod client;
mod device_env;
mod device_service;
mod devices;
mod drain;
mod error;
mod fleet;
mod footprint;
mod hostile;
mod identity;
mod kept;
mod lists;
mod live;
mod options;
mod process;
mod receiver;
mod report;
mod runs;
mod server;
mod setting;
mod soak;
mod storm;
mod tickets;
mod waiting;

use std::process::ExitCode;

use mimalloc::MiMalloc;
use options::{Command, USAGE};

/// As the program fedecks-cloud has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for a terminal")]
fn main() -> ExitCode {
    let done = match options::parse() {
        Ok(Command::Help) => {
            println!("{USAGE}");
            Ok(())
        }
        Ok(Command::Serve(options)) => server::run(&options),
        Ok(Command::Devices(task)) => drain::devices::run(task),
        Ok(Command::Measure(options)) => runs::measure(&options),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fedecks-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
