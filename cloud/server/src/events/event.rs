//! An event: what happened to a device, and its JSON.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::BASE64;
use fedecks_cloud::{DeviceId, Message};
use fedecks_common::utc_millis;
use fedecks_protocol::JsonTerm;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::event_kind::EventKind;

/// Something that happened to a device.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: SystemTime,
    /// `None` for a refusal of somebody who did not say which device it is.
    pub(crate) device: Option<DeviceId>,
    pub(crate) happened: Happened,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Happened {
    /// A device is connected; an older connection of it has ended or is about to, without a word here.
    Connected { connection: String, peer: Option<SocketAddr>, by: &'static str },
    /// A connection of a device is over. It may have a newer one.
    Disconnected { connection: String, reason: String },
    /// A device sent a term.
    Message(Message),
    /// A device sent bytes.
    RawMessage(Bytes),
    /// A term was handed to a device's queue.
    Sent { by: String, message: Message },
    /// Bytes were handed to a device's queue.
    RawSent { by: String, bytes: Bytes },
    /// A connection was refused.
    Refused { reason: &'static str, peer: Option<SocketAddr> },
    /// A device's tokens were made worthless.
    Revoked,
    /// A device is refused from now on.
    Blocked,
    /// A device is not refused any more.
    Unblocked,
}

impl Event {
    pub(crate) fn now(device: &DeviceId, happened: Happened) -> Self {
        Self { at: SystemTime::now(), device: Some(device.clone()), happened }
    }

    pub(crate) fn kind(&self) -> EventKind {
        match &self.happened {
            Happened::Connected { .. } => EventKind::Connected,
            Happened::Disconnected { .. } => EventKind::Disconnected,
            Happened::Message(_) => EventKind::Message,
            Happened::RawMessage(_) => EventKind::RawMessage,
            Happened::Sent { .. } => EventKind::Sent,
            Happened::RawSent { .. } => EventKind::RawSent,
            Happened::Refused { .. } => EventKind::Refused,
            Happened::Revoked => EventKind::Revoked,
            Happened::Blocked => EventKind::Blocked,
            Happened::Unblocked => EventKind::Unblocked,
        }
    }

    /// About how many bytes it takes in memory: its content twice, since its JSON is kept too.
    pub(crate) fn weight(&self) -> usize {
        let more = match &self.happened {
            Happened::Message(message) | Happened::Sent { message, .. } => message.weight(),
            Happened::RawMessage(bytes) | Happened::RawSent { bytes, .. } => bytes.len(),
            Happened::Connected { connection, .. } => connection.len(),
            Happened::Disconnected { connection, reason } => connection.len() + reason.len(),
            Happened::Refused { .. }
            | Happened::Revoked
            | Happened::Blocked
            | Happened::Unblocked => 0,
        };
        size_of::<Self>() + 2 * more
    }

    /// Its JSON, with the id that it was recorded by.
    pub(crate) fn to_json(&self, id: &str) -> String {
        // Terms and texts always have a JSON form.
        serde_json::to_string(&Identified { id, event: self }).unwrap_or_default()
    }
}

struct Identified<'a> {
    id: &'a str,
    event: &'a Event,
}

impl Serialize for Identified<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, event } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("time", &format_args!("{}", utc_millis(event.at)))?;
        map.serialize_entry("kind", event.kind().as_str())?;
        map.serialize_entry("device", &event.device.as_ref().map(DeviceId::as_str))?;
        match &event.happened {
            Happened::Connected { connection, peer, by } => {
                map.serialize_entry("connection", connection)?;
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("authenticated_by", by)?;
            }
            Happened::Disconnected { connection, reason } => {
                map.serialize_entry("connection", connection)?;
                map.serialize_entry("reason", reason)?;
            }
            Happened::Message(message) => {
                map.serialize_entry("message", &JsonTerm(&**message))?;
            }
            Happened::RawMessage(bytes) => {
                map.serialize_entry("bytes", &BASE64.encode(bytes))?;
            }
            Happened::Sent { by, message } => {
                map.serialize_entry("by", by)?;
                map.serialize_entry("message", &JsonTerm(&**message))?;
            }
            Happened::RawSent { by, bytes } => {
                map.serialize_entry("by", by)?;
                map.serialize_entry("bytes", &BASE64.encode(bytes))?;
            }
            Happened::Refused { reason, peer } => {
                map.serialize_entry("reason", reason)?;
                map.serialize_entry("peer", peer)?;
            }
            Happened::Revoked | Happened::Blocked | Happened::Unblocked => {}
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fedecks_cloud::Term;

    use super::*;

    fn event(happened: Happened) -> Event {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        Event { at, device: Some(DeviceId::new("kitchen-1").unwrap()), happened }
    }

    #[test]
    fn a_message_stands_in_json_as_its_term_does() {
        let message = Message::from(Term::Map(vec![("temperature".into(), 21.5.into())]));
        assert_eq!(
            event(Happened::Message(message)).to_json("1-7"),
            r#"{"id":"1-7","time":"2023-11-14T22:13:20.123Z","kind":"message","device":"kitchen-1","message":{"temperature":21.5}}"#
        );
    }

    #[test]
    fn bytes_stand_in_base64_and_nothing_as_null() {
        let raw = event(Happened::RawMessage(Bytes::from_static(b"hello")));
        assert!(
            raw.to_json("1-7")
                .ends_with(r#""kind":"raw-message","device":"kitchen-1","bytes":"aGVsbG8="}"#)
        );
        let refused = Happened::Refused { reason: "missing-header", peer: None };
        let refused = Event { device: None, ..event(refused) };
        assert!(
            refused
                .to_json("1-8")
                .ends_with(r#""device":null,"reason":"missing-header","peer":null}"#)
        );
    }

    #[test]
    fn an_event_weighs_at_least_its_content() {
        let bytes = Bytes::from(vec![0; 1000]);
        assert!(event(Happened::RawMessage(bytes)).weight() >= 1000);
    }
}
