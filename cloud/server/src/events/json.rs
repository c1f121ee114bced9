//! The JSON of an event, as both event streams and webhooks send it.

use data_encoding::BASE64;
use fedecks_cloud::{DeviceId, Term};
use fedecks_common::{text, utc_millis};
use fedecks_protocol::JsonTerm;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::event::{Event, EventPayload, Kept};
use crate::event_kind::EventKind;

impl Event {
    /// Appends the JSON object, with the id under which the event was recorded. It has no line breaks.
    pub(crate) fn write_json(&self, id: &str, to: &mut Vec<u8>) {
        // Terms and texts always have a JSON form, and a vector takes everything.
        let start = to.len();
        let _ = serde_json::to_writer(&mut *to, &Identified { id, event: self });
        text::escape_json_from(start, to);
    }
}

impl Event {
    /// About how long the JSON of its content is, in bytes. Makes none.
    pub(super) fn json_length(&self) -> usize {
        match &self.payload {
            EventPayload::Message(message) => term_length(message),
            EventPayload::KeptMessage(_, message) => KEPT + term_length(message),
            EventPayload::KeptRawMessage(_, bytes) => KEPT + base64_length(bytes),
            EventPayload::Sent { by, message, .. } => {
                MESSAGE_ID + text_length(by) + term_length(message)
            }
            EventPayload::RawMessage(bytes) => base64_length(bytes),
            EventPayload::RawSent { by, bytes, .. } => {
                MESSAGE_ID + text_length(by) + base64_length(bytes)
            }
            EventPayload::Connected { .. } => CONNECTION,
            EventPayload::Disconnected { reason, .. } => CONNECTION + text_length(reason),
            EventPayload::MessageSettled { .. } => MESSAGE_ID,
            EventPayload::Registered { by, .. } | EventPayload::Returned { by, .. } => {
                ADDRESS + text_length(by)
            }
            EventPayload::Refused { by, .. } => by.as_deref().map_or(4, text_length),
            EventPayload::Revoked | EventPayload::Blocked | EventPayload::Unblocked => 0,
        }
    }
}

/// The length of the id of a connection, at most.
const CONNECTION: usize = 33;

/// The length of an address, at most.
const ADDRESS: usize = 48;

/// The length of a message's id and assurance with their keys.
const MESSAGE_ID: usize = 64;

/// The length of what is known about a kept message.
const KEPT: usize = 128;

/// The length of a number, `$float` and the like.
const SCALAR: usize = 24;

fn term_length(term: &Term) -> usize {
    match term {
        Term::Nil | Term::Bool(_) => 6,
        Term::Int(_) | Term::Float(_) => SCALAR,
        Term::Str(text) => text_length(text),
        Term::Atom(name) => SCALAR + text_length(name),
        Term::Bytes(bytes) => SCALAR + base64_length(bytes),
        Term::List(terms) | Term::Tuple(terms) => {
            2 + terms.iter().map(|term| term_length(term) + 1).sum::<usize>()
        }
        Term::Map(entries) => {
            let entry = |(key, value): &(Term, Term)| term_length(key) + term_length(value) + 4;
            SCALAR + entries.iter().map(entry).sum::<usize>()
        }
    }
}

fn text_length(content: &str) -> usize {
    let length = |c| match c {
        '"' | '\\' => 2,
        c if text::is_control(c) => 6,
        c => c.len_utf8(),
    };
    2 + content.chars().map(length).sum::<usize>()
}

fn base64_length(bytes: &[u8]) -> usize {
    2 + bytes.len().div_ceil(3) * 4
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
        if let EventPayload::Sent { id, by, assurance, .. }
        | EventPayload::RawSent { id, by, assurance, .. } = &event.payload
        {
            map.serialize_entry("message_id", &format_args!("{id}"))?;
            map.serialize_entry("by", by)?;
            map.serialize_entry("assurance", assurance.as_str())?;
        }
        if let EventKind::Message | EventKind::RawMessage = event.kind() {
            map.serialize_entry("kept", &event.kept().map(KeptJson))?;
        }
        match &event.payload {
            EventPayload::Connected { connection, peer, by } => {
                map.serialize_entry("connection", &format_args!("{connection}"))?;
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("authenticated_by", by)?;
            }
            EventPayload::Disconnected { connection, reason } => {
                map.serialize_entry("connection", &format_args!("{connection}"))?;
                map.serialize_entry("reason", reason)?;
            }
            EventPayload::Message(message)
            | EventPayload::KeptMessage(_, message)
            | EventPayload::Sent { message, .. } => {
                map.serialize_entry("message", &JsonTerm(&**message))?;
            }
            EventPayload::RawMessage(bytes)
            | EventPayload::KeptRawMessage(_, bytes)
            | EventPayload::RawSent { bytes, .. } => {
                map.serialize_entry("bytes", &BASE64.encode(bytes))?;
            }
            EventPayload::MessageSettled { id, state } => {
                map.serialize_entry("message_id", &format_args!("{id}"))?;
                map.serialize_entry("state", state.as_str())?;
                map.serialize_entry("reason", &state.reason())?;
            }
            EventPayload::Registered { by, address } | EventPayload::Returned { by, address } => {
                map.serialize_entry("by", by)?;
                map.serialize_entry("address", address)?;
            }
            EventPayload::Refused { reason, peer, by } => {
                map.serialize_entry("reason", reason)?;
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("by", by)?;
            }
            EventPayload::Revoked | EventPayload::Blocked | EventPayload::Unblocked => {}
        }
        map.end()
    }
}

struct KeptJson<'a>(&'a Kept);

impl Serialize for KeptJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Kept { id, lane, redelivered, sent_at } = self.0;
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("id", &format_args!("{id}"))?;
        map.serialize_entry("lane", lane.as_str())?;
        map.serialize_entry("redelivered", redelivered)?;
        let sent_at = sent_at.map(|at| utc_millis(at).to_string());
        map.serialize_entry("sent_at", &sent_at)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use fedecks_cloud::Message;
    use fedecks_protocol::{Lane, Tag};

    use super::*;

    #[test]
    fn messages_are_terms_bytes_are_base64_and_missing_is_null() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let json = |device: Option<&str>, payload| {
            let device = device.map(|id| DeviceId::new(id).unwrap());
            let mut json = Vec::new();
            Event { at, device, payload }.write_json("1-7", &mut json);
            String::from_utf8(json).unwrap()
        };
        let message = Message::from(Term::Map(vec![("temperature".into(), 21.5.into())]));
        assert_eq!(
            json(Some("kitchen-1"), EventPayload::Message(message)),
            r#"{"id":"1-7","time":"2023-11-14T22:13:20.123Z","kind":"message","device":"kitchen-1","kept":null,"message":{"temperature":21.5}}"#
        );
        let raw = json(Some("kitchen-1"), EventPayload::RawMessage(b"hello"[..].into()));
        let end = r#""kind":"raw-message","device":"kitchen-1","kept":null,"bytes":"aGVsbG8="}"#;
        assert!(raw.ends_with(end), "{raw}");
        let kept = Kept { id: Tag(26), lane: Lane::Urgent, redelivered: true, sent_at: Some(at) };
        let kept = json(Some("kitchen-1"), EventPayload::KeptRawMessage(kept, b"hello"[..].into()));
        let end = r#""kept":{"id":"000000000000001a","lane":"urgent","redelivered":true,"sent_at":"2023-11-14T22:13:20.123Z"},"bytes":"aGVsbG8="}"#;
        assert!(kept.ends_with(end), "{kept}");
        let reason = "missing-header";
        let refused = json(None, EventPayload::Refused { reason, peer: None, by: None });
        let end = r#""device":null,"reason":"missing-header","peer":null,"by":null}"#;
        assert!(refused.ends_with(end), "{refused}");
        let (by, address) = ("claim:1f2e3d4c5b6a".to_owned(), Some([192, 0, 2, 1].into()));
        let returned = json(Some("kitchen-1"), EventPayload::Returned { by, address });
        let end = r#""kind":"returned","device":"kitchen-1","by":"claim:1f2e3d4c5b6a","address":"192.0.2.1"}"#;
        assert!(returned.ends_with(end), "{returned}");
    }

    #[test]
    fn the_json_shows_what_a_terminal_would_obey() {
        let message = Message::from(Term::from("\u{7f}\u{9b}\u{61c}\u{202e}\u{2028}ü"));
        let event = Event::now(&DeviceId::new("a").unwrap(), EventPayload::Message(message));
        let mut json = Vec::new();
        event.write_json("1-7", &mut json);
        let json = String::from_utf8(json).unwrap();
        assert!(json.ends_with(r#""\u007f\u009b\u061c\u202e\u2028ü"}"#), "{json}");
    }

    #[test]
    fn the_length_of_the_json_is_known_before_it_is_made() {
        let map = Term::Map(vec![
            ("list".into(), Term::List(vec![Term::Nil; 1000])),
            ("atom".into(), Term::Atom("ok".into())),
            (7.into(), Term::Tuple(vec![f64::NAN.into(), u64::MAX.into()])),
        ]);
        for (term, slack) in [
            (Term::from("\u{1}".repeat(10_000)), 100),
            (Term::from("\"\\ü".repeat(1000)), 100),
            (Term::from("\u{7f}\u{9b}\u{202e}".repeat(1000)), 100),
            (Term::Bytes(vec![7; 1000]), 100),
            (map, 2500),
        ] {
            let payload = EventPayload::Message(Message::from(term));
            let event = Event::now(&DeviceId::new("a").unwrap(), payload);
            let mut json = Vec::new();
            event.write_json("1-7", &mut json);
            let (real, known) = (json.len(), event.json_length());
            assert!(real <= known + 128 && known <= real + slack, "{known}, and it is {real}");
        }
    }
}
