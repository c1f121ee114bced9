//! The rules of acknowledged delivery, for both ends of a connection. This crate does no I/O and knows no clock:
//! a [`Sender`] decides what is sent when, and a [`Receiver`] what is handed over and acknowledged. [`Requests`] are what
//! both ends have asked each other.
//!
//! `docs/protocol.md` describes the frames, `docs/delivery.md` what they promise.

mod limits;
mod outbound;
mod position;
mod receiver;
mod requests;
mod sender;
mod violation;
mod waiting;

pub use limits::{Credit, MAX_STREAMS};
pub use outbound::{Entry, Message};
pub use position::Position;
pub use receiver::{Advance, Gap, Outcome, Receiver};
pub use requests::{
    MAX_REQUEST_BYTES, MAX_REQUEST_TIMEOUT, MAX_REQUESTS, NoReply, Overdue, RequestEvent, Requests,
    clamp_timeout, timeout_ms,
};
pub use sender::{Acked, Renumbered, Sender, Settled, Transmit};
pub use violation::Violation;
pub use waiting::{Waiting, Window};
