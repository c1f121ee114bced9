//! The state of the connection as seen from outside. The states themselves are in `connection/`.

use crate::attempt::Attempt;
use crate::time::Time;

/// The state of the connection, for people and status queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Whether there is a token is not known yet, and there is no login.
    Loading,
    /// There is no token and no login.
    Unregistered,
    /// Like `Waiting`, while the network is reported to be down.
    Offline {
        /// When the next attempt starts anyway.
        until: Time,
    },
    /// Like `Waiting`, while the cloud refuses the token as expired: a login is needed, or an operator who
    /// puts the cloud's clock right. Precedes `Offline`.
    Late {
        /// When the next attempt with the token starts.
        until: Time,
    },
    /// Between two attempts.
    Waiting {
        /// When the next attempt starts.
        until: Time,
    },
    /// An attempt is in progress.
    Dialing {
        /// Its number.
        attempt: Attempt,
    },
    /// Messages can be exchanged.
    Connected,
    /// Shut down for good.
    Closed,
}
