//! Reads a window of a stream, from its segments and then from memory.

use std::io;

use fedecks_protocol::{SkipReason, StreamId};

use super::Queue;
use super::cursor::Cursor;
use crate::directory::Directory;
use crate::record::{Item, Record};
use crate::segment::{HEADER, next};

struct Window {
    records: Vec<Record>,
    expected: u64,
    fill: bool,
    messages: usize,
    bytes: usize,
}

impl<D: Directory> Queue<D> {
    /// The records of a stream behind a number, as far as both limits allow, but at least one if there is one.
    /// Numbers that damage took are a record without message; so are all missing ones of a stream of an earlier start.
    pub fn read(
        &mut self,
        stream: StreamId,
        after: u64,
        max_messages: usize,
        max_bytes: usize,
    ) -> io::Result<Vec<Record>> {
        let Some(known) = self.stream(stream) else { return Ok(Vec::new()) };
        let last = known.last;
        let mut window = Window {
            records: Vec::new(),
            expected: after.saturating_add(1).max(known.first),
            fill: known.found,
            messages: max_messages,
            bytes: max_bytes,
        };
        for index in 0..self.segments.len() {
            let segment = &self.segments[index];
            if segment.stream != stream || segment.last < window.expected {
                continue;
            }
            let (order, used, end) = (segment.order, segment.used, segment.last);
            let cursor = self
                .cursor
                .filter(|one| one.order == order && one.after.saturating_add(1) == window.expected);
            let (mut previous, begin) =
                cursor.map_or((0, HEADER), |cursor| (cursor.after, cursor.offset));
            let name = segment.name();
            let len = used.saturating_sub(begin);
            let bytes = match self.directory.read_at(&name, begin as u64, len) {
                Ok(bytes) => bytes,
                Err(error) if window.records.is_empty() => return Err(error),
                Err(_) => return Ok(window.records),
            };
            let mut at = 0;
            while at < len {
                let Some(decoded) = next(&bytes, at, previous) else {
                    let damaged = Record::void(window.expected, end, SkipReason::Damaged);
                    if window.expected <= end && !window.take(damaged) {
                        return Ok(window.records);
                    }
                    break;
                };
                previous = decoded.record.last();
                if !window.take(decoded.record) {
                    let after = window.expected.saturating_sub(1);
                    self.cursor = Some(Cursor { order, after, offset: begin + at });
                    return Ok(window.records);
                }
                at += decoded.len;
            }
        }
        for (_, record) in self.pending.iter().filter(|(of, _)| *of == stream) {
            if !window.take(record.clone()) {
                return Ok(window.records);
            }
        }
        if window.fill && window.expected <= last {
            window.take(Record::void(window.expected, last, SkipReason::Damaged));
        }
        Ok(window.records)
    }
}

impl Window {
    /// Returns whether the record was taken, or is not wanted.
    fn take(&mut self, mut record: Record) -> bool {
        if record.last() < self.expected {
            return true;
        }
        record.sequence = record.sequence.max(self.expected);
        if self.fill && record.sequence > self.expected {
            let missing = Record::void(self.expected, record.sequence - 1, SkipReason::Damaged);
            if !self.push(missing) {
                return false;
            }
        }
        self.push(record)
    }

    fn push(&mut self, record: Record) -> bool {
        let size = match &record.item {
            Item::Message { body, .. } => body.len(),
            Item::Void { .. } => 0,
        };
        let fits = self.messages > 0 && (size <= self.bytes || self.records.is_empty());
        if fits {
            self.messages -= 1;
            self.bytes = self.bytes.saturating_sub(size);
            self.expected = record.last().saturating_add(1);
            self.records.push(record);
        }
        fits
    }
}
