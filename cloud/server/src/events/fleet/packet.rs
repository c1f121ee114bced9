//! What servers publish for each other: events as their JSON, numbered so that the others notice what is missing.

use bytes::Bytes;
use fedecks_cloud::{DeviceId, Message, Term};

use super::super::entry::{LogEntry, OtherEvent};
use super::super::event::Event;
use crate::event_kind::EventKind;

/// The topic of the packets. Clients of the server name no topics, so theirs cannot be the same.
pub(super) const TOPIC: &str = "$fedecks.events";

/// The version of the events in a packet. Every version begins with the same header.
const VERSION: u64 = 1;

/// How many bytes of JSON a packet has at most: NATS takes 1 MiB by default, with all the rest.
pub(super) const MAX_BYTES: usize = 512 * 1024;

/// A packet that is being filled.
#[derive(Default)]
pub(super) struct Filling {
    events: Vec<Term>,
    bytes: usize,
}

/// What every packet begins with, of whichever version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    version: u64,
    /// The log of the server that has published it.
    pub(super) from: u64,
    /// How many packets and losses there were before it, not counting packets without events.
    pub(super) sequence: u64,
    /// The server has stopped and publishes nothing more.
    pub(super) ended: bool,
}

/// A packet of another server.
pub(super) struct Packet<'a> {
    pub(super) header: Header,
    events: &'a [Term],
}

impl Filling {
    /// Adds an event; returns false if it does not fit.
    pub(super) fn add(&mut self, entry: &LogEntry, event: &Event) -> bool {
        let json = entry.json();
        // Serialized from texts, so it is one.
        let Ok(text) = std::str::from_utf8(&json) else { return false };
        let bytes = text.len() + event.device.as_ref().map_or(0, |id| id.as_str().len()) + 64;
        if self.bytes.saturating_add(bytes) > MAX_BYTES {
            return false;
        }
        self.bytes += bytes;
        let device = event.device.as_ref().map_or(Term::Nil, |id| Term::from(id.as_str()));
        let kind = Term::from(event.kind().as_str());
        let number = Term::from(entry.number);
        self.events.push(Term::Tuple(vec![number, kind, device, Term::from(text)]));
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn into_message(self, from: u64, sequence: u64, ended: bool) -> Message {
        Message::from(Term::Tuple(vec![
            VERSION.into(),
            from.into(),
            sequence.into(),
            Term::Bool(ended),
            Term::List(self.events),
        ]))
    }
}

impl<'a> Packet<'a> {
    /// `None` if it has no header, so that it cannot be from a server.
    pub(super) fn read(term: &'a Term) -> Option<Self> {
        let Term::Tuple(fields) = term else { return None };
        let [version, from, sequence, Term::Bool(ended), Term::List(events), ..] = &fields[..]
        else {
            return None;
        };
        let number = |term: &Term| term.as_int().and_then(|number| u64::try_from(number).ok());
        let (version, from, sequence) = (number(version)?, number(from)?, number(sequence)?);
        Some(Self { header: Header { version, from, sequence, ended: *ended }, events })
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The events. `None` is one that this version does not know.
    pub(super) fn events(&self) -> impl Iterator<Item = Option<OtherEvent>> + '_ {
        let Header { version, from, .. } = self.header;
        self.events.iter().map(
            move |event| {
                if version == VERSION { other_event(from, event) } else { None }
            },
        )
    }
}

fn other_event(from: u64, term: &Term) -> Option<OtherEvent> {
    let Term::Tuple(fields) = term else { return None };
    let [number, kind, device, Term::Str(json), ..] = &fields[..] else { return None };
    let number = number.as_int().and_then(|number| u64::try_from(number).ok())?;
    let kind = EventKind::from_word(kind.as_str()?)?;
    let device = match device {
        Term::Nil => None,
        device => Some(DeviceId::new(device.as_str()?).ok()?),
    };
    // A line break would end the field of an event stream that it is sent in.
    if json.len() > MAX_BYTES || json.contains(['\n', '\r']) {
        return None;
    }
    let json = Bytes::copy_from_slice(json.as_bytes());
    Some(OtherEvent { origin: (from, number), kind, device, json })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u64, event: Term) -> Term {
        Term::Tuple(vec![
            version.into(),
            7.into(),
            8.into(),
            Term::Bool(false),
            Term::List(vec![event]),
            // A later version may add fields.
            Term::Nil,
        ])
    }

    fn event(kind: &str, json: &str) -> Term {
        Term::Tuple(vec![3.into(), kind.into(), "a".into(), json.into()])
    }

    #[test]
    fn what_a_later_version_adds_is_one_unknown_event() {
        let known = packet(VERSION, event("connected", "{}"));
        let read = Packet::read(&known).unwrap();
        assert_eq!((read.header.from, read.header.sequence), (7, 8));
        let events: Vec<_> = read.events().map(|event| event.unwrap().origin).collect();
        assert_eq!(events, [(7, 3)]);
        for unknown in [
            packet(VERSION + 1, event("connected", "{}")),
            packet(VERSION, event("teleported", "{}")),
            packet(VERSION, event("connected", "{\n}")),
            packet(VERSION, Term::Nil),
        ] {
            let read = Packet::read(&unknown).unwrap();
            assert!(read.has_events() && read.events().all(|event| event.is_none()));
        }
        assert!(Packet::read(&Term::from("of an application")).is_none());
    }
}
