//! The signals that the server handles. What it does then is up to `running.rs`.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::ServerError;

/// The signals that stop the server.
pub(crate) struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    /// From now on the signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, ServerError> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one, and returns its name.
    pub(crate) async fn requested(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signal to reload the certificates. From now on it does not end the process.
pub(crate) fn hangup() -> Result<Signal, ServerError> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, ServerError> {
    signal(kind).map_err(ServerError::io("listen for signals"))
}
