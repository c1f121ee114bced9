//! What the connection is doing, as others may see it.

use crate::attempt::Attempt;
use crate::time::Time;

/// What the connection is doing, for people and status queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no token and nobody has logged in.
    Unregistered,
    /// As `Waiting`, while the network is said to be down.
    Offline {
        /// When the next attempt begins all the same.
        until: Time,
    },
    /// Between two attempts.
    Waiting {
        /// When the next attempt begins.
        until: Time,
    },
    /// An attempt is under way.
    Dialing {
        /// Its number.
        attempt: Attempt,
    },
    /// Messages travel.
    Connected,
    /// Shut down; nothing will happen any more.
    Closed,
}
