//! How a session ended: orderly, or with an error.

use std::fmt;
use std::io;
use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason};

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnected {
    /// The device closed the session.
    ByDevice(CloseReason),
    /// The cloud closed the session: replaced, revoked, restarting, or by the handler or the hub.
    ByCloud(CloseReason),
    /// An error, already reported by [`Handler::on_error`](crate::Handler::on_error).
    ByError,
    /// The runtime shut down and dropped the session's task.
    Abandoned,
}

/// An error that ends a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nothing was received for the idle timeout, not even a ping.
    #[error("nothing was received for {} s", .0.as_secs())]
    Idle(Duration),
    /// The connection was lost without a close frame.
    #[error("the connection was lost: {0}")]
    Lost(#[source] io::Error),
    /// The device violated the WebSocket protocol.
    #[error("the device violated the WebSocket protocol: {0}")]
    Protocol(String),
    /// The device sent a message above the limit that the Welcome frame announced.
    #[error("the device sent a message of {size} bytes, at most {limit} are allowed")]
    TooBig {
        /// The size as far as it was known, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message took so long to arrive that others waited for the memory that it took.
    #[error("a message arrived too slowly while the cloud was short of memory for messages")]
    Overloaded,
    /// There was no memory for a message that was published for the device.
    #[error("the cloud was short of memory for messages to devices")]
    NoMemory,
    /// The device did not read what was sent to it, and its queue overflowed or stalled.
    #[error("the device reads too slowly")]
    TooSlow,
    /// A callback of the handler panicked.
    #[error("the handler panicked")]
    Panicked,
    /// A callback of the handler did not complete.
    #[error("the handler took longer than {} s", .0.as_secs())]
    Stuck(Duration),
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByDevice(reason) => {
                write!(f, "the device closed the connection with code {}", reason.code.code())
            }
            Self::ByCloud(reason) => {
                write!(f, "the cloud closed the connection with code {}", reason.code.code())
            }
            Self::ByError => f.write_str("an error ended the connection"),
            Self::Abandoned => f.write_str("the server shut down"),
        }
    }
}

impl SessionError {
    /// The code that the session is closed with; `None` if the connection is lost already.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Lost(_) => None,
            Self::Idle(_) => Some(CloseCode::GoingAway),
            Self::Protocol(_) => Some(CloseCode::ProtocolError),
            Self::TooBig { .. } => Some(CloseCode::TooBig),
            Self::TooSlow | Self::Overloaded | Self::NoMemory => Some(CloseCode::Overloaded),
            Self::Panicked | Self::Stuck(_) => Some(CloseCode::InternalError),
        }
    }
}
