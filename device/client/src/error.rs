//! The errors of the client's methods, and what they are made of.

#[doc(inline)]
pub use fedecks_device_core::{GiveUp, LoginError, NotRegistered, SendError};
#[doc(inline)]
pub use fedecks_protocol::{AuthError, CredentialsError, EncodeError, InvalidDeviceId, TermError};

#[doc(inline)]
pub use crate::storage::StoreError;
#[doc(inline)]
pub use crate::tls::TlsError;
#[doc(inline)]
pub use crate::url::InvalidUrl;

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
#[non_exhaustive]
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
#[non_exhaustive]
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
#[non_exhaustive]
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
#[expect(clippy::exhaustive_structs, reason = "nothing but the fact")]
pub struct Stopped;
