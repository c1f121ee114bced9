//! The device's side of the connection as a pure state machine.
//!
//! [`Connection`] decides everything: when to dial and with what, when to wait and for how long,
//! what a refusal means for the token, when a silent link is dead. It does nothing: it has no
//! sockets, no clock, no files and no source of chance but the seed it is given. Whoever drives it
//! brings inputs through `handle_*`, each with the time at which it happened, then carries out what
//! [`Connection::poll_action`] says until that is `None`, and comes back no later than
//! [`Connection::poll_timeout`].

mod action;
mod backoff;
mod config;
mod connection;
mod growing_wait;
mod heartbeat;
mod human_time;
mod network;
mod time;
mod timer;
mod token;
mod unreachable;

pub use action::{
    Action, AuthHeader, Event, FailReason, LoginError, LostReason, Notice, Outgoing, Phase,
};
pub use config::Config;
pub use connection::{
    Attempt, Connection, DialError, LoggedIn, LoginId, NotRegistered, SendError, State,
};
pub use growing_wait::GrowingWait;
pub use human_time::{parse_duration, utc};
pub use network::{DefaultRoute, Manager, Network, NetworkJudge, Routes, Sight};
pub use time::Time;
pub use token::Stored;
pub use unreachable::Unreachable;
