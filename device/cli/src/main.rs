//! The command `fedecks`: controls the service `fedecksd` over the system bus.

#![allow(clippy::wildcard_enum_match_arm, reason = "most errors of the bus are reported alike")]

mod arguments;
mod bus;
mod deliveries;
mod events;
mod exec;
mod failure;
mod follow;
#[cfg(test)]
mod generated;
mod input;
mod listen;
mod login;
mod login_wait;
mod output;
mod poll;
mod prompt;
mod queue;
mod refusal;
mod requests;
mod send;
mod status;
mod summary;

use std::process::ExitCode;

use clap::Parser;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Arguments, Command};
use crate::exec::Runner;
use crate::failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the event loop: {error}")))
        .and_then(|runtime| {
            let programs = Runner::default();
            let work = run(arguments.command, &programs);
            let result = runtime.block_on(until_signal(work, &programs));
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

async fn run(command: Command, programs: &Runner) -> Result<(), Failure> {
    match command {
        Command::Login(arguments) => login::login(arguments).await,
        Command::Logout => send::logout().await,
        Command::Send { message, literal, keep } => send::send(&message, literal, &keep).await,
        Command::SendRaw { file, keep } => send::send_raw(&file, &keep).await,
        Command::Request(arguments) => requests::request(arguments).await,
        Command::Requests(arguments) => requests::requests(arguments, programs).await,
        Command::Reconnect => send::reconnect().await,
        Command::Listen(arguments) if arguments.ack => {
            deliveries::deliver(arguments, programs).await
        }
        Command::Listen(arguments) => listen::listen(arguments, programs).await,
        Command::Status(arguments) => status::status(arguments).await,
        Command::Queue(arguments) => queue::queue(arguments).await,
        Command::Events(arguments) => events::events(arguments).await,
    }
}

/// Ctrl-C, SIGTERM and SIGHUP cancel the work by dropping it: a prompt restores the terminal. They are passed on to
/// a program that is running for a message, which has a grace to end; a second signal kills it.
async fn until_signal(
    work: impl Future<Output = Result<(), Failure>>,
    programs: &Runner,
) -> Result<(), Failure> {
    let on = |kind| {
        signal(kind).map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))
    };
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    let mut signalled = async || {
        tokio::select! {
            _ = interrupt.recv() => (SignalKind::interrupt(), Signal::SIGINT),
            _ = terminate.recv() => (SignalKind::terminate(), Signal::SIGTERM),
            _ = hangup.recv() => (SignalKind::hangup(), Signal::SIGHUP),
        }
    };
    let (kind, signal) = tokio::select! {
        result = work => return result,
        signal = signalled() => signal,
    };
    tokio::select! {
        () = programs.end(signal) => {}
        _ = signalled() => {}
    }
    Err(Failure::Signal(kind))
}
