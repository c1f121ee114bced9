//! An attempt to connect: its number, its phases, and how it ends without a WebSocket.

use std::fmt;
use std::time::Duration;

use fedecks_protocol::Refusal;

/// Number of an attempt to connect, counted from 1, and of the link that came of it. Whatever
/// happens on a link names its attempt, so that news from an older one is told apart and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt(pub u64);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Part of an attempt; each has a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The name becomes addresses.
    Resolve,
    /// The TCP connection is made.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// The upgrade request waits for its answer.
    Upgrade,
    /// The WebSocket is there, the Welcome frame is not.
    Welcome,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Tcp => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Upgrade => "the upgrade",
            Self::Welcome => "the welcome",
        })
    }
}

/// Why an attempt did not give a WebSocket.
#[derive(Debug, Clone, PartialEq)]
pub enum DialError {
    /// The cloud refused the upgrade in the protocol's own form.
    Refused {
        /// What it said.
        refusal: Refusal,
        /// The delay it asked for.
        retry_after: Option<Duration>,
    },
    /// Anything else; the text is for people.
    Unreachable(String),
}
