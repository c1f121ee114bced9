//! An event in the log: its id, its text as event streams send it, and the JSON in that.

use std::io::Write;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use super::event::Event;

/// An event in the log.
pub(crate) struct LogEntry {
    instance: u64,
    pub(super) number: u64,
    pub(crate) event: Event,
    weight: usize,
    /// Boxed, since most are never read.
    text: OnceLock<Box<Text>>,
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
    pub(super) fn new(instance: u64, number: u64, event: Event) -> Self {
        let weight = OVERHEAD + event.weight() + event.json_length();
        Self { instance, number, event, weight, text: OnceLock::new() }
    }

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
        let (id, kind) = (self.id(), self.event.kind().as_str());
        let mut text = format!("id: {id}\nevent: {kind}\ndata: ").into_bytes();
        let start = text.len();
        self.event.write_json(&id, &mut text);
        let json = start..text.len();
        // A vector takes everything.
        let _ = text.write_all(b"\n\n");
        Box::new(Text { whole: text.into(), json })
    }
}

pub(super) fn id(instance: u64, number: u64) -> String {
    format!("{instance:016x}-{number}")
}
