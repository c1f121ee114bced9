//! An event in the log: its id, its text as event streams send it, and the JSON in that.

use std::io::Write;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use fedecks_cloud::DeviceId;

use super::event::Event;
use crate::event_kind::EventKind;

/// An entry of the log: an event, or that events are missing.
pub(crate) struct LogEntry {
    instance: u64,
    pub(super) number: u64,
    content: Content,
    weight: usize,
    /// Boxed, since most are never read.
    text: OnceLock<Box<Text>>,
}

pub(super) enum Content {
    /// Recorded by this server.
    Own(Event, Reach),
    /// Recorded by another server.
    Other(OtherEvent),
    /// Events of other servers are missing here.
    Gap,
}

/// Who gets an event that this server has recorded, besides its own event streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Webhooks and the other servers.
    All,
    /// Webhooks. The other servers record it themselves.
    Webhooks,
    /// No one: the other servers record it themselves, and one of them for webhooks.
    Streams,
}

/// An event as another server has published it.
#[derive(Debug)]
pub(super) struct OtherEvent {
    /// The log of the server that has recorded it, and its number there.
    pub(super) origin: (u64, u64),
    pub(super) kind: EventKind,
    pub(super) device: Option<DeviceId>,
    /// The same object as there.
    pub(super) json: Bytes,
}

struct Text {
    /// A server-sent event, as the HTML standard defines it.
    whole: Bytes,
    json: Range<usize>,
}

/// The approximate size of an entry without its content: itself, its place in the log, and what its text has
/// besides.
const OVERHEAD: usize = size_of::<LogEntry>() + 256;

impl LogEntry {
    pub(super) fn new(instance: u64, number: u64, content: Content) -> Self {
        let weight = OVERHEAD
            + match &content {
                Content::Own(event, _) => event.weight() + event.json_length(),
                Content::Other(event) => 2 * event.json.len(),
                Content::Gap => 0,
            };
        Self { instance, number, content, weight, text: OnceLock::new() }
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// The event, if this server has recorded it.
    pub(crate) fn own(&self) -> Option<&Event> {
        if let Content::Own(event, _) = &self.content { Some(event) } else { None }
    }

    /// Whether webhooks get it from this server.
    pub(super) fn is_for_webhooks(&self) -> bool {
        matches!(&self.content, Content::Own(_, Reach::All | Reach::Webhooks))
    }

    /// The log in which it was recorded first, and its number there.
    pub(super) fn origin(&self) -> (u64, u64) {
        match &self.content {
            Content::Other(event) => event.origin,
            Content::Own(..) | Content::Gap => (self.instance, self.number),
        }
    }

    /// Where it is in this log.
    pub(crate) fn id(&self) -> String {
        id(self.instance, self.number)
    }

    /// The approximate size in memory with the text, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// The server-sent event, which all streams share.
    pub(crate) fn text(&self) -> Bytes {
        self.rendered().whole.clone()
    }

    /// The JSON object in it.
    pub(crate) fn json(&self) -> Bytes {
        let text = self.rendered();
        text.whole.slice(text.json.clone())
    }

    pub(super) fn is_rendered(&self) -> bool {
        self.text.get().is_some()
    }

    /// Makes the text, once.
    pub(super) fn render(&self) {
        self.rendered();
    }

    fn rendered(&self) -> &Text {
        self.text.get_or_init(|| self.new_text())
    }

    fn new_text(&self) -> Box<Text> {
        let id = self.id();
        let kind = match &self.content {
            Content::Own(event, _) => event.kind().as_str(),
            Content::Other(event) => event.kind.as_str(),
            Content::Gap => "gap",
        };
        let mut text = format!("id: {id}\nevent: {kind}\ndata: ").into_bytes();
        let start = text.len();
        match &self.content {
            Content::Own(event, _) => event.write_json(&id, &mut text),
            Content::Other(event) => text.extend_from_slice(&event.json),
            Content::Gap => {}
        }
        let json = start..text.len();
        // A vector takes everything.
        let _ = text.write_all(b"\n\n");
        Box::new(Text { whole: text.into(), json })
    }
}

/// An id, as programs see it.
pub(super) fn id(instance: u64, number: u64) -> String {
    format!("{instance:016x}-{number}")
}
