//! The state of the connection as seen from outside. The states themselves are in `connection/`.

use std::fmt;

use crate::attempt::Attempt;
use crate::time::Time;

/// The state of the connection, for people and status queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

impl State {
    /// Its name in status queries, on D-Bus and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Unregistered => "unregistered",
            Self::Late { .. } => "late",
            Self::Offline { .. } => "offline",
            Self::Waiting { .. } => "waiting",
            Self::Dialing { .. } => "dialing",
            Self::Connected => "connected",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for State {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loading => f.write_str("reading the data directory"),
            Self::Unregistered => f.write_str("unregistered: waiting for a login"),
            Self::Late { .. } => f.write_str("token late: login or operator needed"),
            Self::Offline { .. } => f.write_str("offline"),
            Self::Waiting { .. } => f.write_str("waiting to connect"),
            Self::Dialing { attempt } => write!(f, "connecting, attempt {attempt}"),
            Self::Connected => f.write_str("connected"),
            Self::Closed => f.write_str("closed"),
        }
    }
}
