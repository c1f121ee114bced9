//! An attempt to connect: its number, its phases, and why it can fail.

use std::fmt;
use std::time::Duration;

use fedecks_protocol::Refusal;

/// The number of an attempt to connect, counted from 1, and of the resulting link. Every input from a
/// link names its attempt, so that late inputs from an older link are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt(pub u64);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A phase of an attempt, in order. Each has its own deadline. An attempt that falls back to another address does
/// not return to an earlier phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Resolving the host name.
    Resolve,
    /// Establishing the TCP connection.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// Waiting for the response to the upgrade request.
    Upgrade,
    /// Waiting for the Welcome frame on the established WebSocket.
    Welcome,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the host name",
            Self::Tcp => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Upgrade => "the upgrade",
            Self::Welcome => "the Welcome frame",
        })
    }
}

/// Why an attempt failed before the WebSocket was established.
#[derive(Debug, Clone, PartialEq)]
pub enum DialError {
    /// The cloud refused the upgrade as the protocol defines it.
    Refused {
        /// The reason.
        refusal: Refusal,
        /// The delay that the cloud asked for.
        retry_after: Option<Duration>,
    },
    /// Anything else.
    Unreachable {
        /// The phase that failed.
        phase: Phase,
        /// Why, for people.
        error: String,
    },
}
