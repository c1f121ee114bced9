//! `fedecks`: speaks to `fedecksd` over the system bus.

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
        .map_err(|error| Failure::Failed(format!("starting the event loop: {error}")))
        .and_then(|runtime| {
            let result = runtime.block_on(until_signal(run(arguments.command)));
            // A thread that still reads standard input would be waited for.
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
        Command::Login(what) => login::login(what).await,
        Command::Logout => send::logout().await,
        Command::Send { message } => send::send(&message).await,
        Command::SendRaw { file } => send::send_raw(&file).await,
        Command::Reconnect => send::reconnect().await,
        Command::Listen(what) => listen::listen(what).await,
        Command::Status(what) => status::status(what).await,
        Command::Events(what) => events::events(what).await,
    }
}

/// Ctrl-C, SIGTERM and SIGHUP end the work by dropping it: a prompt puts the terminal back as it
/// was, a program that was started for a message is killed.
async fn until_signal(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let hear =
        |kind| signal(kind).map_err(|error| Failure::Failed(format!("hearing signals: {error}")));
    let mut interrupt = hear(SignalKind::interrupt())?;
    let mut terminate = hear(SignalKind::terminate())?;
    let mut hangup = hear(SignalKind::hangup())?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => Err(Failure::Signal(SignalKind::interrupt())),
        _ = terminate.recv() => Err(Failure::Signal(SignalKind::terminate())),
        _ = hangup.recv() => Err(Failure::Signal(SignalKind::hangup())),
    }
}
