//! An event: something that happened to a device. Its JSON is in `json.rs`.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use bytes::Bytes;
use fedecks_cloud::messaging::ConnectionId;
use fedecks_cloud::{DeviceId, Message};
use fedecks_common::text;
use fedecks_protocol::{JsonTerm, Lane, Tag};
use fedecks_store::{DownState, LoggedContent};

use crate::event_kind::EventKind;

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
    Connected { connection: ConnectionId, peer: Option<SocketAddr>, by: &'static str },
    /// A connection of a device has ended. The device may have a newer one.
    Disconnected { connection: ConnectionId, reason: String },
    /// A device sent a term.
    Message(Message),
    /// A device sent bytes.
    RawMessage(Bytes),
    /// A device sent a term that was kept until it was stored.
    KeptMessage(Kept, Message),
    /// A device sent bytes that were kept until they were stored.
    KeptRawMessage(Kept, Bytes),
    /// A term was put into a device's queue.
    Sent { id: Tag, by: String, assurance: Assurance, message: Message },
    /// Bytes were put into a device's queue.
    RawSent { id: Tag, by: String, assurance: Assurance, bytes: Bytes },
    /// A kept message to a device has its final state.
    MessageSettled { id: Tag, state: DownState },
    /// A device was registered: its id is new, or an operator has allowed it to register again.
    Registered { by: String, address: Option<IpAddr> },
    /// A registered device that had lost its token has come back with its claim or certificate.
    Returned { by: String, address: Option<IpAddr> },
    /// A connection was refused. `by` is what it named: an account, or a claim.
    Refused { reason: &'static str, peer: Option<SocketAddr>, by: Option<String> },
    /// A device's tokens were revoked.
    Revoked,
    /// A device is refused from now on.
    Blocked,
    /// A device was unblocked.
    Unblocked,
}

/// How surely a message to a device arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assurance {
    /// It is in the queue of a connection, and lost with that.
    Sent,
    /// It is in the store until the device has acknowledged it.
    Kept,
}

impl Assurance {
    /// Its name for programs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Kept => "kept",
        }
    }
}

/// What is known about a kept message besides its content.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Its id, which is unique for its device.
    pub(crate) id: Tag,
    pub(crate) lane: Lane,
    /// It may have been handled before.
    pub(crate) redelivered: bool,
    /// When the device accepted it, if the device's clock was plausible.
    pub(crate) sent_at: Option<SystemTime>,
}

impl Event {
    pub(crate) fn now(device: &DeviceId, payload: EventPayload) -> Self {
        Self { at: SystemTime::now(), device: Some(device.clone()), payload }
    }

    pub(crate) fn kind(&self) -> EventKind {
        match &self.payload {
            EventPayload::Connected { .. } => EventKind::Connected,
            EventPayload::Disconnected { .. } => EventKind::Disconnected,
            EventPayload::Message(_) | EventPayload::KeptMessage(..) => EventKind::Message,
            EventPayload::RawMessage(_) | EventPayload::KeptRawMessage(..) => EventKind::RawMessage,
            EventPayload::Sent { .. } => EventKind::Sent,
            EventPayload::RawSent { .. } => EventKind::RawSent,
            EventPayload::MessageSettled { .. } => EventKind::MessageSettled,
            EventPayload::Registered { .. } => EventKind::Registered,
            EventPayload::Returned { .. } => EventKind::Returned,
            EventPayload::Refused { .. } => EventKind::Refused,
            EventPayload::Revoked => EventKind::Revoked,
            EventPayload::Blocked => EventKind::Blocked,
            EventPayload::Unblocked => EventKind::Unblocked,
        }
    }

    /// The content of a message, as the log of kept messages has it.
    pub(crate) fn logged(&self) -> Option<LoggedContent> {
        match &self.payload {
            EventPayload::KeptMessage(_, message) => {
                let mut json = serde_json::to_vec(&JsonTerm(&**message)).ok()?;
                text::escape_json_from(0, &mut json);
                Some(LoggedContent::Json(json.into()))
            }
            EventPayload::KeptRawMessage(_, bytes) => Some(LoggedContent::Raw(bytes.clone())),
            _ => None,
        }
    }

    /// Of a kept message, which was stored for the webhooks together with its acknowledgement.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        match &self.payload {
            EventPayload::KeptMessage(kept, _) | EventPayload::KeptRawMessage(kept, _) => {
                Some(kept)
            }
            _ => None,
        }
    }

    /// The approximate size of its content in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match &self.payload {
            EventPayload::Message(message) | EventPayload::KeptMessage(_, message) => {
                message.weight()
            }
            // The message keeps the frame that was sent, too.
            EventPayload::Sent { by, message, .. } => by.len() + 2 * message.weight(),
            EventPayload::RawMessage(bytes) | EventPayload::KeptRawMessage(_, bytes) => bytes.len(),
            EventPayload::RawSent { by, bytes, .. } => by.len() + bytes.len(),
            EventPayload::Disconnected { reason, .. } => reason.len(),
            EventPayload::Registered { by, .. } | EventPayload::Returned { by, .. } => by.len(),
            EventPayload::Refused { by, .. } => by.as_ref().map_or(0, String::len),
            EventPayload::Connected { .. }
            | EventPayload::MessageSettled { .. }
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
