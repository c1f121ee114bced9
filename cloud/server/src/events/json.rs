//! The JSON of an event, as both event streams and webhooks send it.

use data_encoding::BASE64;
use fedecks_cloud::DeviceId;
use fedecks_common::utc_millis;
use fedecks_protocol::JsonTerm;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::event::{Event, EventPayload};

impl Event {
    /// The JSON object, with the id under which the event was recorded. It has no line breaks.
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
        if let EventPayload::Sent { by, .. } | EventPayload::RawSent { by, .. } = &event.payload {
            map.serialize_entry("by", by)?;
        }
        match &event.payload {
            EventPayload::Connected { connection, peer, by } => {
                map.serialize_entry("connection", connection)?;
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("authenticated_by", by)?;
            }
            EventPayload::Disconnected { connection, reason } => {
                map.serialize_entry("connection", connection)?;
                map.serialize_entry("reason", reason)?;
            }
            EventPayload::Message(message) | EventPayload::Sent { message, .. } => {
                map.serialize_entry("message", &JsonTerm(&**message))?;
            }
            EventPayload::RawMessage(bytes) | EventPayload::RawSent { bytes, .. } => {
                map.serialize_entry("bytes", &BASE64.encode(bytes))?;
            }
            EventPayload::Refused { reason, peer } => {
                map.serialize_entry("reason", reason)?;
                map.serialize_entry("peer", peer)?;
            }
            EventPayload::Revoked | EventPayload::Blocked | EventPayload::Unblocked => {}
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use fedecks_cloud::{Message, Term};

    use super::*;

    #[test]
    fn messages_are_terms_bytes_are_base64_and_missing_is_null() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let json = |device: Option<&str>, payload| {
            let device = device.map(|id| DeviceId::new(id).unwrap());
            Event { at, device, payload }.to_json("1-7")
        };
        let message = Message::from(Term::Map(vec![("temperature".into(), 21.5.into())]));
        assert_eq!(
            json(Some("kitchen-1"), EventPayload::Message(message)),
            r#"{"id":"1-7","time":"2023-11-14T22:13:20.123Z","kind":"message","device":"kitchen-1","message":{"temperature":21.5}}"#
        );
        let raw = json(Some("kitchen-1"), EventPayload::RawMessage(b"hello"[..].into()));
        let end = r#""kind":"raw-message","device":"kitchen-1","bytes":"aGVsbG8="}"#;
        assert!(raw.ends_with(end), "{raw}");
        let refused = json(None, EventPayload::Refused { reason: "missing-header", peer: None });
        let end = r#""device":null,"reason":"missing-header","peer":null}"#;
        assert!(refused.ends_with(end), "{refused}");
    }
}
