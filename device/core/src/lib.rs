//! The device's side of the connection as a pure state machine.
//!
//! [`Connection`] decides everything: when to dial and with what, how long to wait, what a refusal means
//! for the token, when a silent link is dead. It does no I/O: it has no sockets, clock or files, and no
//! randomness but the seed that it is given. Its driver passes inputs to `handle_*`, each with the time
//! at which it happened, then executes the actions from [`Connection::poll_action`] until there are no
//! more, and calls [`Connection::handle_timeout`] no later than at [`Connection::poll_timeout`].
//!
//! [`NetworkDebouncer`] and [`Unreachable`] are two smaller state machines that are driven in the same way.
//! [`AddressHistory`] decides the order in which the addresses of the cloud are tried.

mod action;
mod addresses;
mod attempt;
mod backoff;
mod config;
mod connection;
mod delivery;
mod event;
mod kept;
mod nonce;
mod question;
mod queue_job;
mod request;
mod state;
mod time;
mod timers;
mod watch;

pub use action::{Action, AuthHeader, Notice, Outgoing, UnexpectedFrame};
pub use addresses::{AddressHistory, Candidate};
pub use attempt::{Attempt, DialError, Phase};
pub use config::Config;
pub use connection::{Connection, Stored};
pub use delivery::{DeliveryKey, InboxStatus, KeptDelivery, Positions, StreamPosition};
pub use event::{Event, FailReason, LostReason};
pub use fedecks_delivery::{NoReply, Outcome, Settled};
pub use kept::{KeepError, KeepId, LaneQueueStatus, NewContent, NewKept, Place, QueueStatus};
pub use nonce::Nonce;
pub use question::{AskId, QuestionId, ReplyError, RequestError};
pub use queue_job::{
    DiskLimits, DiskQueueStatus, FoundStream, QueueDone, QueueEntry, QueueItem, QueueJob,
    QueueLost, QueueOpened, QueueUsage, QueuedMessage,
};
pub use request::{
    GiveUp, LoggedIn, LoginError, LoginId, LogoutId, NotRegistered, SendError, SendId,
};
pub use state::State;
pub use time::Time;
pub use watch::{
    DefaultRoute, Manager, Network, NetworkDebouncer, Observation, Routes, Unreachable,
};
