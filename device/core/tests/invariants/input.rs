//! An input of the connection, as a value. How such values are made is up to the test.

use std::time::Duration;

use fedecks_device_core::{DialError, LostReason, Network, Outcome, Phase};
use fedecks_protocol::{DownFrame, IssuedToken, Lane, Token, UpFrame};

#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// Lets time pass without keeping deadlines.
    Pass(Duration),
    Timeout,
    /// Lets time pass until the earliest deadline, and keeps it.
    NextDeadline,
    Loaded(Result<Option<IssuedToken>, String>),
    Stored(Result<(), String>),
    /// With a password of this size, and a nonce or not.
    Login(usize, bool),
    /// The answer to the newest request for one.
    Nonce,
    Logout,
    Reconnect,
    Shutdown,
    Network(Network),
    /// From the current attempt, or the one before or after it.
    From(i64, LinkInput),
    /// Over a link that is alive or found dead.
    Send(UpFrame, bool),
    /// A message to be confirmed, over such a link.
    Confirm(bool),
    Keep {
        lane: Lane,
        size: usize,
        expires_in: Duration,
    },
    /// The oldest message that the application has.
    Acknowledge(Outcome),
    Writable,
    /// A request to the cloud, with this timeout.
    Ask(Duration),
    /// An answer to the newest request of the cloud.
    Reply,
}

#[derive(Debug, Clone)]
pub(crate) enum LinkInput {
    Phase(Phase),
    Dialed(Result<(), DialError>),
    Frame(DownFrame),
    Bytes(Vec<u8>),
    Text,
    Traffic,
    Progress,
    Pong,
    Lost(LostReason),
}

pub(crate) fn token(number: u8) -> IssuedToken {
    IssuedToken { token: Token::new(format!("token-{number}")).unwrap(), expires_at: 1 }
}
