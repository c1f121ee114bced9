//! Why a client does not do what it was asked.

use fedecks_device_core::{NotRegistered, SendError};
use fedecks_protocol::TermError;

use crate::tls::TlsError;

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or key file is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gave no timer.
    #[error("the system gave no timer on CLOCK_BOOTTIME: {0}")]
    Timer(#[source] std::io::Error),
}

/// Why a value was not sent. The caller still has it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientSendError {
    /// The value has no form that travels.
    #[error("the value cannot be sent: {0}")]
    Value(#[from] TermError),
    /// There is no connection, or the value is too big or too deep.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a logout is not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// The token is forgotten, but what is on disk could not be removed.
    #[error("logged out, but the token could not be removed from the disk yet: {0}")]
    StillStored(String),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why there is no attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReconnectError {
    /// There is nothing to connect with.
    #[error(transparent)]
    NotRegistered(#[from] NotRegistered),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The client was shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client was shut down")]
pub struct Stopped;
