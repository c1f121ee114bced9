//! Requests of the application: their ids, results and errors.

use std::fmt;

use fedecks_protocol::{AuthError, EncodeError, Refusal};

/// Identifies a login; chosen by the driver and repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginId(pub u64);

/// Identifies a logout; chosen by the driver, each higher than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogoutId(pub u64);

/// Identifies a message to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendId(pub u64);

/// A login that the cloud accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedIn {
    /// Whether the token is on disk. If not, the session works, but a reboot will require a new login
    /// unless the token is saved before that.
    pub persisted: bool,
}

impl LoggedIn {
    /// A login whose token is on disk, or is not.
    pub fn new(persisted: bool) -> Self {
        Self { persisted }
    }
}

/// Why a login failed. A previous token, if any, is kept.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The cloud rejected the credentials.
    #[error("the cloud refused the login: {0}")]
    Rejected(Refusal),
    /// The credentials cannot be encoded.
    #[error(transparent)]
    Invalid(#[from] AuthError),
    /// The login was cancelled.
    #[error("cancelled by {0}")]
    GivenUp(GiveUp),
}

/// What cancelled a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUp {
    /// A newer login.
    NewerLogin,
    /// A logout.
    Logout,
    /// The end of the program.
    Shutdown,
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewerLogin => "a newer login",
            Self::Logout => "a logout",
            Self::Shutdown => "the end of the program",
        })
    }
}

/// Why a message was not sent. It is not kept for later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no connection.
    #[error("not connected to the cloud")]
    NotConnected,
    /// It was sent, and the connection ended before the cloud confirmed that it arrived.
    #[error("sent, but not confirmed by the cloud: it may have arrived")]
    Unconfirmed,
    /// It exceeds the limits of the device or the cloud, or cannot be encoded.
    #[error("cannot encode the message: {0}")]
    Encode(#[from] EncodeError),
}

/// There is neither a token nor a login to connect with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device is not registered: it has no token and has not been logged in")]
pub struct NotRegistered;
