//! The signals that the server listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::ServerError;

/// The signals that stop the server.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on the signals don't end the process by themselves.
    pub(crate) fn listen() -> Result<Self, ServerError> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The next one's name.
    pub(crate) async fn told(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signal that has the server read its certificates anew. From now on it does not end the process.
pub(crate) fn hangup() -> Result<Signal, ServerError> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, ServerError> {
    signal(kind).map_err(ServerError::io("listen to signals"))
}
