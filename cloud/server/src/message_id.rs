//! The id of a message to a device, which the API's answer and the events about the message have in common.

use std::fmt;

/// Opaque to clients. It is random, so that it identifies the message wherever that waits and however often it is
/// numbered again, on any node. Events have their own ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageId(u128);

impl MessageId {
    /// The length of its text.
    pub(crate) const CHARS: usize = 32;

    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.0, width = Self::CHARS)
    }
}
