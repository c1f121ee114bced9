//! An event: something that happened to a device. Its JSON is in `json.rs`.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use fedecks_cloud::{DeviceId, Message};

use crate::event_kind::EventKind;
use crate::message_id::MessageId;

/// Something that happened to a device.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: SystemTime,
    /// `None` for a refused connection that did not say which device it is.
    pub(crate) device: Option<DeviceId>,
    pub(crate) payload: EventPayload,
}

/// What happened, with the details of its kind.
#[derive(Debug, Clone)]
pub(crate) enum EventPayload {
    /// A device is connected. An older connection of it has ended or is about to, without an event.
    Connected { connection: String, peer: Option<SocketAddr>, by: &'static str },
    /// A connection of a device has ended. The device may have a newer one.
    Disconnected { connection: String, reason: String },
    /// A device sent a term.
    Message(Message),
    /// A device sent bytes.
    RawMessage(Bytes),
    /// A term was put into a device's queue.
    Sent { id: MessageId, by: String, message: Message },
    /// Bytes were put into a device's queue.
    RawSent { id: MessageId, by: String, bytes: Bytes },
    /// A connection was refused.
    Refused { reason: &'static str, peer: Option<SocketAddr> },
    /// A device's tokens were revoked.
    Revoked,
    /// A device is refused from now on.
    Blocked,
    /// A device was unblocked.
    Unblocked,
}

impl Event {
    pub(crate) fn now(device: &DeviceId, payload: EventPayload) -> Self {
        Self { at: SystemTime::now(), device: Some(device.clone()), payload }
    }

    pub(crate) fn kind(&self) -> EventKind {
        match &self.payload {
            EventPayload::Connected { .. } => EventKind::Connected,
            EventPayload::Disconnected { .. } => EventKind::Disconnected,
            EventPayload::Message(_) => EventKind::Message,
            EventPayload::RawMessage(_) => EventKind::RawMessage,
            EventPayload::Sent { .. } => EventKind::Sent,
            EventPayload::RawSent { .. } => EventKind::RawSent,
            EventPayload::Refused { .. } => EventKind::Refused,
            EventPayload::Revoked => EventKind::Revoked,
            EventPayload::Blocked => EventKind::Blocked,
            EventPayload::Unblocked => EventKind::Unblocked,
        }
    }

    /// The approximate size of its content in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match &self.payload {
            EventPayload::Message(message) => message.weight(),
            // The message keeps the frame that was sent, too.
            EventPayload::Sent { by, message, .. } => by.len() + 2 * message.weight(),
            EventPayload::RawMessage(bytes) => bytes.len(),
            EventPayload::RawSent { by, bytes, .. } => by.len() + bytes.len(),
            EventPayload::Connected { connection, .. } => connection.len(),
            EventPayload::Disconnected { connection, reason } => connection.len() + reason.len(),
            EventPayload::Refused { .. }
            | EventPayload::Revoked
            | EventPayload::Blocked
            | EventPayload::Unblocked => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_weighs_at_least_its_content() {
        let payload = EventPayload::RawMessage(vec![0; 1000].into());
        assert!(Event::now(&DeviceId::new("a").unwrap(), payload).weight() >= 1000);
    }
}
