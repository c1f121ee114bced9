//! Requests to the cloud and from it: their ids and errors.

use fedecks_delivery::NoReply;
use fedecks_protocol::EncodeError;

/// Identifies a request to the cloud; chosen by the driver, and repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AskId(pub u64);

/// Identifies a request of the cloud; chosen by the core, and not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuestionId(pub u64);

/// Why a request to the cloud has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection: nothing was sent.
    #[error("not connected to the cloud")]
    NotConnected,
    /// The cloud answers no requests: nothing was sent.
    #[error("this cloud answers no requests")]
    Unsupported,
    /// Too many requests are in progress: nothing was sent.
    #[error("{} requests are in progress already", fedecks_delivery::MAX_REQUESTS)]
    Busy,
    /// The question exceeds the limits of the device or the cloud, or cannot be encoded: nothing was sent.
    #[error("cannot encode the request: {0}")]
    Encode(#[from] EncodeError),
    /// The cloud has refused to answer.
    #[error("the cloud has not answered: {0}")]
    NoReply(NoReply),
    /// There was no answer in time: the cloud may have acted or not.
    #[error("no answer in time: the cloud may have acted on the request, or not")]
    TimedOut,
    /// The connection was lost before the answer: the cloud may have acted or not.
    #[error("the connection was lost before the answer: the cloud may have acted on it, or not")]
    OutcomeUnknown,
}

/// Why an answer was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The request is answered already, its time is over, or its connection is lost.
    #[error("no one waits for this answer any longer")]
    NotWaiting,
    /// It exceeds the limits of the device or the cloud, or cannot be encoded: the cloud learns that.
    #[error("cannot encode the answer: {0}")]
    Encode(#[from] EncodeError),
}
