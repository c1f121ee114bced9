//! The command `fedecks`: controls the service `fedecksd` over the system bus.

#![allow(clippy::wildcard_enum_match_arm, reason = "most errors of the bus are reported alike")]

mod arguments;
mod bus;
mod events;
mod exec;
mod failure;
mod follow;
#[cfg(test)]
mod generated;
mod input;
mod listen;
mod login;
mod output;
mod prompt;
mod send;
mod status;
mod summary;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the event loop: {error}")))
        .and_then(|runtime| {
            let result = runtime.block_on(until_signal(run(arguments.command)));
            // Does not wait for a thread that is still reading standard input.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Signal(_)) {
                output::note(&failure);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Login(arguments) => login::login(arguments).await,
        Command::Logout => send::logout().await,
        Command::Send { message } => send::send(&message).await,
        Command::SendRaw { file } => send::send_raw(&file).await,
        Command::Reconnect => send::reconnect().await,
        Command::Listen(arguments) => listen::listen(arguments).await,
        Command::Status(arguments) => status::status(arguments).await,
        Command::Events(arguments) => events::events(arguments).await,
    }
}

/// Ctrl-C, SIGTERM and SIGHUP cancel the work by dropping it: a prompt restores the terminal, and a
/// program that is running for a message is killed.
async fn until_signal(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let on = |kind| {
        signal(kind).map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))
    };
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => Err(Failure::Signal(SignalKind::interrupt())),
        _ = terminate.recv() => Err(Failure::Signal(SignalKind::terminate())),
        _ = hangup.recv() => Err(Failure::Signal(SignalKind::hangup())),
    }
}
