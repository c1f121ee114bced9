//! Writes what waits in memory in groups, one write and one sync for each segment.

use std::io;

use fedecks_protocol::StreamId;

use super::Queue;
use crate::directory::Directory;
use crate::error::{FlushError, Full};
use crate::record::Record;
use crate::segment::{Expiry, HEADER, Segment, encode_header, name};

impl<D: Directory> Queue<D> {
    /// Writes all that waits in memory; after that a power cut loses none of it. After an error the rest waits for
    /// the next call.
    ///
    /// When a write or sync fails, it is unknown what the segment will contain: it is not written again, and what
    /// was not confirmed goes to another at once.
    pub fn flush(&mut self) -> Result<(), FlushError> {
        while let Some(stream) = self.pending.front().map(|(stream, _)| *stream) {
            match self.write_group(stream) {
                Ok(()) => {}
                Err(FlushError::Full(full)) => return Err(full.into()),
                Err(FlushError::Io(_)) => {
                    self.leave_segment(stream);
                    self.write_group(stream)?;
                }
            }
        }
        Ok(())
    }

    fn leave_segment(&mut self, stream: StreamId) {
        if let Some(known) = self.streams.iter_mut().find(|known| known.id == stream) {
            known.active = None;
        }
    }

    /// Writes the records of a stream that fit into one segment.
    fn write_group(&mut self, stream: StreamId) -> Result<(), FlushError> {
        let limit = self.limits.segment_bytes;
        let Some(known) = self.streams.iter().find(|known| known.id == stream) else {
            self.forget_pending(stream, u64::MAX);
            return Ok(());
        };
        let (lane, acknowledged, active) = (known.lane, known.acknowledged, known.active);
        let mut records = self.pending.iter().filter(|(of, _)| *of == stream).map(|(_, one)| one);
        let Some(first) = records.next() else { return Ok(()) };
        let active = self
            .segments
            .iter()
            .position(|one| Some(one.order) == active && one.used + first.size() <= limit);
        let mut used = active.map_or(HEADER, |index| self.segments[index].used);
        let mut group = vec![first];
        used += first.size();
        for record in records {
            if used + record.size() > limit {
                break;
            }
            used += record.size();
            group.push(record);
        }
        let mut bytes = Vec::new();
        for record in &group {
            record.encode(record.sequence <= acknowledged.saturating_add(1), &mut bytes);
        }
        let group: Vec<Record> = group.into_iter().cloned().collect();
        let index = match active {
            Some(index) => {
                let segment = &self.segments[index];
                let (name, offset) = (segment.name(), segment.used as u64);
                self.directory.write_at(&name, offset, &bytes)?;
                self.directory.sync(&name)?;
                index
            }
            None => {
                let mut content = encode_header(stream, lane, group[0].sequence);
                content.extend(bytes);
                if self.directory.overwrites_in_place() {
                    content.resize(content.len().max(limit), 0);
                }
                let order = self.create(&content)?;
                let first = group[0].sequence;
                self.segments.push(Segment {
                    order,
                    stream,
                    lane,
                    first,
                    last: first,
                    messages: 0,
                    used: HEADER,
                    len: content.len() as u64,
                    expiry: Expiry::default(),
                    void: None,
                });
                if let Some(known) = self.streams.iter_mut().find(|known| known.id == stream) {
                    known.active = Some(order);
                }
                self.segments.len() - 1
            }
        };
        let segment = &mut self.segments[index];
        for record in &group {
            segment.add(record);
        }
        segment.used = used;
        segment.len = segment.len.max(used as u64);
        let written = segment.last;
        self.forget_pending(stream, written);
        Ok(())
    }

    fn create(&mut self, content: &[u8]) -> Result<u64, FlushError> {
        let space = self.directory.space()?;
        if space.free < self.limits.floor(space).saturating_add(content.len() as u64) {
            return Err(Full.into());
        }
        let order = self.next_order;
        self.next_order += 1;
        let name = name(order);
        let created = self.write_new(&name, content);
        if created.is_err() {
            let _ = self.directory.remove(&name);
        }
        created?;
        Ok(order)
    }

    pub(super) fn write_new(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.directory.create(name)?;
        self.directory.write_at(name, 0, content)?;
        self.directory.sync(name)?;
        self.directory.sync_names()
    }
}
