//! How a session ended: on purpose, or by an error.

use std::io;
use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason};

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnected {
    /// The device closed it.
    ByDevice(CloseReason),
    /// The cloud closed it: replaced, revoked, restarted, by the handler or the hub.
    ByCloud(CloseReason),
    /// By an error, which [`Handler::socket_error`] was told.
    ByError,
    /// The task was dropped, when the runtime shut down.
    Abandoned,
}

/// What ends a session otherwise than on purpose.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nothing came for the idle timeout, not even a ping.
    #[error("nothing came for {} s", .0.as_secs())]
    Idle(Duration),
    /// The connection ended without a close frame.
    #[error("the connection ended: {0}")]
    Lost(#[source] io::Error),
    /// The device broke the WebSocket protocol.
    #[error("the device broke the WebSocket protocol: {0}")]
    Protocol(String),
    /// The device sent a message above the limit that Welcome told.
    #[error("the device sent {size} bytes, at most {limit} are allowed")]
    TooBig {
        /// How many, as far as was known.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The device did not read what was sent to it, and its queue overflowed or stood still.
    #[error("the device reads too slowly")]
    TooSlow,
    /// A callback of the handler panicked.
    #[error("the handler panicked")]
    Panicked,
    /// A callback of the handler did not come to its end.
    #[error("the handler took longer than {} s", .0.as_secs())]
    Stuck(Duration),
}

impl SessionError {
    /// The code that the session closes with; `None` where there is nobody left to tell.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Lost(_) => None,
            Self::Idle(_) => Some(CloseCode::GoingAway),
            Self::Protocol(_) => Some(CloseCode::ProtocolError),
            Self::TooBig { .. } => Some(CloseCode::TooBig),
            Self::TooSlow => Some(CloseCode::Overloaded),
            Self::Panicked | Self::Stuck(_) => Some(CloseCode::InternalError),
        }
    }
}
