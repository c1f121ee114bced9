//! The rules of a fleet that a history breaks.

use std::time::Duration;

use super::entry::{Device, Node};
use crate::history::Message;

/// What the history of a fleet must not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetFinding {
    /// A server served a device that was revoked more than two seconds before, and did not say that it is cut off.
    NotRefused(Device, Node),
    /// A session was open more than two seconds after a newer one was established, and its server did not say that it is
    /// cut off.
    StaysOpen(Device, /** The session. */ u64, Node),
    /// A device that never leaves by itself was without a session for longer than 15 s.
    Away(Device, Duration),
    /// A session has acknowledged a message that was made when a newer one was established.
    AcceptedBySuperseded(Device, /** The session. */ u64, Message),
    /// A session was handed a message that was sent when a newer one was established.
    HandedToSuperseded(Device, /** The session. */ u64, Message),
    /// The receiver of a webhook never got a message that was acknowledged.
    NotDelivered(Device, Message),
    /// It got a message for the first time after a later one.
    DeliveredLate(Device, Message, /** The later one. */ Message),
    /// It got a message under two ids.
    DeliveredByTwoIds(Device, Message),
    /// An event stream neither showed a message that was acknowledged nor said that something is missing there.
    NotShown(Node, Device, Message),
    /// The presence at this server was wrong for longer than 30 s after the last fault.
    NotConverged(Node),
    /// A device, or an answer to a request, was not as the protocol says.
    Broken(String),
}

impl FleetFinding {
    /// Whether something has not come that might have come later.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NotDelivered(..) | Self::NotShown(..))
    }
}
