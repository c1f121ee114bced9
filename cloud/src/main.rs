//! `fedecks-cloud`: the ready-made server that Fedecks devices connect to.

mod cli;
mod config;
mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
