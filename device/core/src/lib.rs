//! The device's side of the connection as a pure state machine.
//!
//! [`Connection`] decides everything: when to dial and with what, when to wait and for how long,
//! what a refusal means for the token, when a silent link is dead. It does nothing: it has no
//! sockets, no clock, no files and no source of chance but the seed it is given. Whoever drives it
//! brings inputs through `handle_*`, each with the time at which it happened, then carries out what
//! [`Connection::poll_action`] says until that is `None`, and comes back no later than
//! [`Connection::poll_timeout`].
//!
//! The crate also has what all crates of the device share and what needs no I/O: [`NetworkDebouncer`] and
//! [`Unreachable`], the waits of [`Backoff`], and times as people write and read them
//! ([`parse_duration`], [`utc`]).

mod action;
mod attempt;
mod backoff;
mod config;
mod connection;
mod event;
mod request;
mod state;
mod time;
mod timers;
mod watch;

pub use action::{Action, AuthHeader, Notice, Outgoing, UnusedFrame};
pub use attempt::{Attempt, DialError, Phase};
pub use config::Config;
pub use connection::{Connection, Stored};
pub use event::{Event, FailReason, LostReason};
pub use request::{
    GiveUp, LoggedIn, LoginError, LoginId, LogoutId, NotRegistered, SendError, SendId,
};
pub use state::State;
pub use time::Time;
pub use watch::{
    DefaultRoute, Manager, Network, NetworkDebouncer, Observation, Routes, Unreachable,
};
