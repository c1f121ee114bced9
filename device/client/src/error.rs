//! The errors of the client's methods.

use fedecks_device_core::{NotRegistered, SendError};
use fedecks_protocol::TermError;

use crate::storage::StoreError;
use crate::tls::TlsError;

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or key file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another client, of this process or another one, uses the data directory.
    #[error(transparent)]
    InUse(StoreError),
    /// The system provides no timer.
    #[error("cannot create a timer on CLOCK_BOOTTIME: {0}")]
    Timer(#[source] std::io::Error),
}

/// Why a value was not sent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientSendError {
    /// The value cannot be represented as a [`Term`](crate::Term).
    #[error("the value cannot be sent: {0}")]
    Value(#[from] TermError),
    /// There is no connection, or the value is too big or too deeply nested.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a logout is incomplete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// The token is no longer used, but could not be removed from the disk.
    #[error("logged out, but the token could not be removed from the disk yet: {0}")]
    StillStored(String),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why the client does not reconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReconnectError {
    /// There is neither a token nor a pending login.
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
