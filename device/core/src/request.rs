//! What the application asks for, by name, and how that is answered.

use std::fmt;

use fedecks_protocol::{AuthError, EncodeError, Refusal};

/// Name that the driver gives to a login, to match the answer with the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginId(pub u64);

/// The same for a logout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogoutId(pub u64);

/// The same for a message that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendId(pub u64);

/// A login that the cloud accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedIn {
    /// Whether the token is on disk. If not, the session works, but a reboot would need a new login
    /// unless the store takes the token before.
    pub persisted: bool,
}

/// How a login failed. The token that was there before, if any, stays.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// The cloud said no to the credentials.
    #[error("the cloud refused the login: {0}")]
    Rejected(Refusal),
    /// The credentials cannot be sent.
    #[error(transparent)]
    Invalid(#[from] AuthError),
    /// A newer login, a logout or the end of the program came first.
    #[error("given up for {0}")]
    GivenUp(GiveUp),
}

/// What a login was given up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// A newer login took its place.
    NewerLogin,
    /// The device was logged out.
    Logout,
    /// The program ends.
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

/// Why a message was not sent. The caller still has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no connection now.
    #[error("not connected to the cloud")]
    NotConnected,
    /// It does not fit the dialect or the limits, the cloud's among them.
    #[error("the message {0}")]
    Unfit(#[from] EncodeError),
}

/// There is no token and no login to connect with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device is not registered: it has no token and nobody has logged in")]
pub struct NotRegistered;
