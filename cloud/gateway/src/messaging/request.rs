//! Why a request to a device has no answer, and what a handler makes of a request of a device.

use fedecks_delivery::NoReply;
use fedecks_protocol::{EncodeError, Term, TermError};
use serde::Serialize;

use crate::messaging::backplane::error::BackplaneError;

/// Why a request to a device has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The value cannot be represented as a [`Term`]: nothing was sent.
    #[error("the value cannot be sent: {0}")]
    Value(#[from] TermError),
    /// It exceeds the limits, or cannot be encoded: nothing was sent.
    #[error("cannot encode the request: {0}")]
    Encode(#[from] EncodeError),
    /// The device is not connected: nothing was sent.
    #[error("the device is not connected")]
    NotConnected,
    /// The device is connected to another node, and the backplane carries no requests: nothing was sent.
    #[error("the device is connected to another node of this cloud")]
    NotHere,
    /// The device answers no requests: nothing was sent.
    #[error("the device answers no requests")]
    Unsupported,
    /// Too many requests are in progress, or the device's queue is full: nothing was sent.
    #[error("too many requests to the device are in progress")]
    Busy,
    /// The node of the device cannot be reached: nothing was sent.
    #[error(transparent)]
    Backplane(#[from] BackplaneError),
    /// The device has refused to answer.
    #[error("the device has not answered: {0}")]
    NoReply(NoReply),
    /// There was no answer in time: the device may have acted or not.
    #[error("no answer in time: the device may have acted on the request, or not")]
    TimedOut,
    /// The connection was lost before the answer: the device may have acted or not.
    #[error("the connection was lost before the answer: the device may have acted, or not")]
    OutcomeUnknown,
}

/// What a handler makes of a request of a device.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RequestOutcome {
    /// The answer.
    Reply(Term),
    /// There is none, with a text for people, of which up to 1,024 bytes are sent.
    Failed(String),
    /// This cloud answers no requests.
    Unhandled,
}

impl RequestOutcome {
    /// Answers with any serializable value. One that cannot be represented as a [`Term`] is a bug of the program: it
    /// is logged, and the device learns that its request has failed.
    pub fn reply<T: Serialize + ?Sized>(value: &T) -> Self {
        match Term::from_serialize(value) {
            Ok(term) => Self::Reply(term),
            Err(error) => {
                tracing::error!(%error, "the handler answers with a value that is not a term");
                Self::Failed("the answer is not a term".to_owned())
            }
        }
    }
}
