//! Why a call to other nodes has failed.

use fedecks_protocol::EncodeError;

/// Why a message was not delivered to a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    /// The device is not connected.
    #[error("the device is not connected")]
    NotConnected,
    /// Too many messages are waiting for the device.
    #[error("the device's queue is full")]
    QueueFull,
    /// The message is too big or nested too deeply.
    #[error("cannot encode the message: {0}")]
    Encode(#[from] EncodeError),
    /// The node of the device cannot be reached.
    #[error(transparent)]
    Backplane(#[from] BackplaneError),
}

/// Other nodes are unreachable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backplane is not available: {0}")]
pub struct BackplaneError(String);

impl BackplaneError {
    /// An error with this reason, for implementors of a backplane.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
