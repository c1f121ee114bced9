//! The queue: takes records into memory, gives up what is acknowledged or has no room, and reads what waits.

mod cursor;
mod drop;
mod flush;
mod read;

use std::collections::VecDeque;
use std::io;

use fedecks_protocol::{Lane, SkipReason, StreamId};

use self::cursor::Cursor;
use crate::directory::Directory;
use crate::error::{AppendError, Full, Lost};
use crate::limits::Limits;
use crate::record::Record;
use crate::segment::Segment;

/// The queue of kept messages. Records that are not flushed are in memory only; memory knows segments, not the
/// messages in them.
#[derive(Debug)]
pub struct Queue<D> {
    pub(crate) directory: D,
    pub(crate) limits: Limits,
    /// The oldest first.
    pub(crate) streams: Vec<Stream>,
    /// By order.
    pub(crate) segments: Vec<Segment>,
    pub(crate) next_order: u64,
    pending: VecDeque<(StreamId, Record)>,
    pending_bytes: usize,
    pending_messages: u64,
    cursor: Option<Cursor>,
}

/// A stream with something waiting, or to which records are appended.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) lane: Lane,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) acknowledged: u64,
    /// It is of an earlier start: nothing is appended, and numbers that are missing are void.
    pub(crate) found: bool,
    /// The segment to which records are appended.
    pub(crate) active: Option<u64>,
}

/// The numbers of a stream that were sent: they are not dropped before they are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// The stream.
    pub stream: StreamId,
    /// The last number that was sent.
    pub up_to: u64,
}

/// What the queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Messages on disk and in memory. Those that are acknowledged count until their segment is removed.
    pub messages: u64,
    /// The bytes of the files, and of what waits to be written.
    pub bytes: u64,
    /// Bytes that wait to be written.
    pub unwritten_bytes: usize,
    /// The earliest expiry on disk, in milliseconds since 1970-01-01 UTC.
    pub earliest_expiry_ms: Option<u64>,
}

impl<D: Directory> Queue<D> {
    pub(crate) fn empty(directory: D, limits: Limits) -> Self {
        Self {
            directory,
            limits,
            streams: Vec::new(),
            segments: Vec::new(),
            next_order: 0,
            pending: VecDeque::new(),
            pending_bytes: 0,
            pending_messages: 0,
            cursor: None,
        }
    }

    /// Takes a record into memory, from where [`flush`](Self::flush) writes it. The numbers of a stream ascend; one
    /// that is not known begins with this record. Returns what is given up because the lane has too many streams.
    pub fn append(
        &mut self,
        stream: StreamId,
        lane: Lane,
        record: Record,
    ) -> Result<Vec<Lost>, AppendError> {
        let (bytes, limit) = (record.size(), self.limits.max_body_bytes);
        if bytes > limit + crate::record::OVERHEAD {
            return Err(AppendError::TooBig { bytes: bytes - crate::record::OVERHEAD, limit });
        }
        let known = self.streams.iter().position(|known| known.id == stream);
        let valid = known.is_none_or(|known| {
            let known = &self.streams[known];
            !known.found && known.lane == lane && record.sequence > known.last
        });
        if !valid || record.sequence == 0 || record.last() < record.sequence {
            return Err(AppendError::OutOfOrder(record.sequence));
        }
        let usage = self.usage();
        if usage.messages + u64::from(record.is_message()) > self.limits.max_messages
            || usage.bytes + bytes as u64 > self.limits.max_bytes
        {
            return Err(Full.into());
        }
        let mut lost = Vec::new();
        match known {
            Some(known) => self.streams[known].last = record.last(),
            None => {
                lost = self.make_room_for_stream(lane);
                self.streams.push(Stream {
                    id: stream,
                    lane,
                    first: record.sequence,
                    last: record.last(),
                    acknowledged: 0,
                    found: false,
                    active: None,
                });
            }
        }
        self.pending_bytes += bytes;
        self.pending_messages += u64::from(record.is_message());
        self.pending.push_back((stream, record));
        Ok(lost)
    }

    /// Forgets the numbers of a stream up to one. What was not written never is; segments that are done are removed.
    /// Those of a stream of an earlier start are gone for good when its last number is acknowledged.
    /// A stream of this start may be acknowledged beyond its last record: then it continues there.
    /// An error says that a segment could not be: it is found again at the next start.
    pub fn acknowledged(&mut self, stream: StreamId, up_to: u64) -> io::Result<()> {
        let Some(known) = self.streams.iter_mut().find(|known| known.id == stream) else {
            return Ok(());
        };
        if !known.found {
            known.last = known.last.max(up_to);
        }
        known.acknowledged = known.acknowledged.max(up_to.min(known.last));
        let up_to = known.acknowledged;
        self.forget_pending(stream, up_to);
        let newest = Lane::ALL.map(|lane| self.newest(lane));
        let done = |segment: &Segment, streams: &[Stream]| {
            streams.iter().any(|known| {
                known.id == segment.stream
                    && segment.last <= known.acknowledged
                    // Filling another with zeros would cost more than the rest of this one.
                    && !(known.active == Some(segment.order) && newest.contains(&Some(known.id)))
            })
        };
        let mut result = Ok(());
        let (removed, kept) =
            self.segments.drain(..).partition(|segment| done(segment, &self.streams));
        self.segments = kept;
        let removed: Vec<Segment> = removed;
        let is_finished = self
            .streams
            .iter()
            .any(|known| known.id == stream && known.found && known.last <= known.acknowledged);
        let sync_names = is_finished && !removed.is_empty();
        for segment in removed {
            result = result.and(self.directory.remove(&segment.name()));
            for known in &mut self.streams {
                known.active = known.active.filter(|active| *active != segment.order);
            }
        }
        if sync_names {
            result = result.and(self.directory.sync_names());
        }
        let segments = &self.segments;
        self.streams.retain(|known| {
            known.last > known.acknowledged
                || newest.contains(&Some(known.id)) && !known.found
                || segments.iter().any(|segment| segment.stream == known.id)
        });
        result
    }

    /// Removes a stream with everything in it. An error says that a file could not be: it is found again at the next
    /// start.
    pub fn forget(&mut self, stream: StreamId) -> io::Result<()> {
        let (mut result, mut is_there) = (Ok(()), false);
        for segment in self.segments.iter().filter(|segment| segment.stream == stream) {
            is_there = true;
            result = result.and(self.directory.remove(&segment.name()));
        }
        self.segments.retain(|segment| segment.stream != stream);
        self.streams.retain(|known| known.id != stream);
        self.forget_pending(stream, u64::MAX);
        self.cursor = None;
        if is_there { result.and(self.directory.sync_names()) } else { result }
    }

    /// What the queue holds.
    pub fn usage(&self) -> Usage {
        let written: u64 = self.segments.iter().map(|segment| segment.messages).sum();
        let bytes: u64 = self.segments.iter().map(|segment| segment.len).sum();
        Usage {
            messages: written + self.pending_messages,
            bytes: bytes + self.pending_bytes as u64,
            unwritten_bytes: self.pending_bytes,
            earliest_expiry_ms: self.segments.iter().filter_map(|one| one.expiry.earliest).min(),
        }
    }

    /// The directory, for [`Positions`](crate::Positions).
    pub fn directory(&mut self) -> &mut D {
        &mut self.directory
    }

    /// Ends the queue. What was not flushed is lost.
    pub fn into_directory(self) -> D {
        self.directory
    }

    fn newest(&self, lane: Lane) -> Option<StreamId> {
        self.streams.iter().rev().find(|known| known.lane == lane).map(|known| known.id)
    }

    fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.iter().find(|known| known.id == id)
    }

    fn forget_pending(&mut self, stream: StreamId, up_to: u64) {
        self.pending.retain(|(of, record)| *of != stream || record.last() > up_to);
        self.count_pending();
    }

    fn count_pending(&mut self) {
        self.pending_bytes = self.pending.iter().map(|(_, record)| record.size()).sum();
        self.pending_messages =
            self.pending.iter().filter(|(_, record)| record.is_message()).count() as u64;
    }

    fn make_room_for_stream(&mut self, lane: Lane) -> Vec<Lost> {
        let mut lost = Vec::new();
        while self.streams.iter().filter(|known| known.lane == lane).count()
            >= self.limits.streams_per_lane.max(1)
        {
            let Some(oldest) = self.streams.iter().position(|known| known.lane == lane) else {
                break;
            };
            let oldest = self.streams.remove(oldest);
            let (from, to) = (oldest.first.max(oldest.acknowledged + 1), oldest.last);
            let of_it = |segment: &Segment| segment.stream == oldest.id;
            let written = self.segments.iter().filter(|segment| of_it(segment));
            let count = written.map(|segment| segment.messages).sum::<u64>()
                + self.pending.iter().filter(|(of, _)| *of == oldest.id).count() as u64;
            for segment in self.segments.iter().filter(|segment| of_it(segment)) {
                // What cannot be removed is found again at the next start.
                let _ = self.directory.remove(&segment.name());
            }
            self.segments.retain(|segment| !of_it(segment));
            self.forget_pending(oldest.id, u64::MAX);
            if from <= to {
                let count = count.min((to - from).saturating_add(1));
                let reason = SkipReason::QueueFull;
                let (stream, tags) = (oldest.id, Vec::new());
                lost.push(Lost { stream, lane, from, to, count, tags, reason });
            }
        }
        lost
    }
}
