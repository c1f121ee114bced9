//! Finds the queue on disk at a start. Nothing that it finds stops the start.

use std::io;

use fedecks_protocol::{Lane, StreamId};

use crate::directory::Directory;
use crate::error::{Damage, DamageReason};
use crate::limits::Limits;
use crate::owner::Owner;
use crate::queue::{Queue, Stream};
use crate::record::Item;
use crate::segment::{Expiry, HEADER, Header, Segment, behind_damage, decode_header, next, order};

/// The queue as it was found.
#[derive(Debug)]
pub struct Opened<D> {
    /// The queue; empty if the directory cannot be read.
    pub queue: Queue<D>,
    /// The streams with something waiting, the oldest first.
    pub found: Vec<Found>,
    /// What could not be used. Missing numbers are read as records without message.
    pub damage: Vec<Damage>,
    /// Why the directory cannot be read.
    pub error: Option<io::Error>,
}

/// A stream of an earlier start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The stream.
    pub stream: StreamId,
    /// Its lane.
    pub lane: Lane,
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
    /// How many messages.
    pub messages: u64,
}

impl<D: Directory> Queue<D> {
    /// Finds what earlier starts left in the directory.
    pub fn open(directory: D, limits: Limits) -> Opened<D> {
        let mut queue = Self::empty(directory, limits);
        let mut damage = Vec::new();
        let entries = match queue.directory.list() {
            Ok(entries) => entries,
            Err(error) => return Opened { queue, found: Vec::new(), damage, error: Some(error) },
        };
        let mut orders: Vec<u64> = entries.iter().filter_map(|entry| order(&entry.name)).collect();
        orders.sort_unstable();
        queue.next_order = orders.last().map_or(0, |last| last.saturating_add(1));
        let mut tails = Vec::new();
        for order in orders {
            if let Err(error) = queue.find(order, &mut damage, &mut tails) {
                let queue = Self::empty(queue.directory, queue.limits);
                return Opened { queue, found: Vec::new(), damage: Vec::new(), error: Some(error) };
            }
        }
        for (stream, to) in tails {
            if let Some(known) = queue.streams.iter_mut().find(|known| known.id == stream) {
                if known.last < to {
                    damage.push(records(stream, known.last.saturating_add(1), to));
                    known.last = to;
                }
            }
        }
        let messages = |stream| {
            let of_it = queue.segments.iter().filter(move |segment| segment.stream == stream);
            of_it.map(|segment| segment.messages).sum()
        };
        let found = |known: &Stream| Found {
            stream: known.id,
            lane: known.lane,
            first: known.first,
            last: known.last,
            messages: messages(known.id),
        };
        let found = queue.streams.iter().map(found).collect();
        Opened { queue, found, damage, error: None }
    }

    /// Finds the segment with this number. Fails if the disk does, so that nothing is taken for damaged that is
    /// intact, and there again later.
    fn find(
        &mut self,
        order: u64,
        damage: &mut Vec<Damage>,
        tails: &mut Vec<(StreamId, u64)>,
    ) -> io::Result<()> {
        let name = crate::segment::name(order);
        let most = self.limits.segment_bytes + self.limits.max_body_bytes + 2 * HEADER;
        let nameless = |reason| Damage { stream: None, from: 0, to: 0, reason };
        let bytes = match self.read_segment(&name, most)? {
            Some(bytes) => bytes,
            None => {
                damage.push(nameless(DamageReason::Unreadable));
                return Ok(());
            }
        };
        let (stream, lane, first) = match decode_header(&bytes) {
            Header::Known { stream, lane, first } => (stream, lane, first.max(1)),
            Header::Newer => {
                damage.push(nameless(DamageReason::Version));
                return Ok(());
            }
            Header::Blank => {
                let _ = self.directory.remove(&name);
                return Ok(());
            }
            Header::Damaged => {
                let _ = self.directory.remove(&name);
                damage.push(nameless(DamageReason::Header));
                return Ok(());
            }
        };
        let mut segment = Segment {
            order,
            stream,
            lane,
            first,
            last: first - 1,
            messages: 0,
            used: HEADER,
            len: bytes.len() as u64,
            expiry: Expiry::default(),
            void: None,
        };
        let mut records_found = 0;
        while let Some(decoded) = next(&bytes, segment.used, segment.last) {
            segment.used += decoded.len;
            records_found += 1;
            segment.add(&decoded.record);
            segment.void = match decoded.record.item {
                Item::Void { reason, .. } => (records_found == 1).then_some(reason),
                Item::Message { .. } => None,
            };
            let (from, to) = (decoded.record.sequence, decoded.record.last());
            self.continue_stream((stream, lane), from, to, decoded.start, damage);
        }
        if let Some(to) = behind_damage(&bytes, segment.used, segment.last) {
            segment.last = to;
            segment.void = None;
            tails.push((stream, to));
            if !self.streams.iter().any(|known| known.id == stream) {
                self.streams.push(found_stream(stream, lane, first, first - 1));
            }
        } else if records_found == 0 {
            let _ = self.directory.remove(&name);
            return Ok(());
        }
        self.segments.push(segment);
        Ok(())
    }

    /// The content of a segment; `None` if it cannot be read while the owner's file can. When a partition is pulled
    /// out, no file can be read any more.
    fn read_segment(&mut self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let error = match self.directory.read_at(name, 0, most) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) => error,
        };
        if Owner::load(&mut self.directory)?.is_none() {
            return Err(error);
        }
        Ok(self.directory.read_at(name, 0, most).ok())
    }

    fn continue_stream(
        &mut self,
        (stream, lane): (StreamId, Lane),
        from: u64,
        to: u64,
        start: bool,
        damage: &mut Vec<Damage>,
    ) {
        let Some(known) = self.streams.iter_mut().find(|known| known.id == stream) else {
            return self.streams.push(found_stream(stream, lane, from, to));
        };
        if start && from > known.last {
            // What came before is acknowledged.
            known.first = from;
            known.acknowledged = from - 1;
            damage.retain(|one| one.stream != Some(stream));
        } else if from > known.last.saturating_add(1) {
            damage.push(records(stream, known.last.saturating_add(1), from - 1));
        }
        known.last = known.last.max(to);
    }
}

fn found_stream(id: StreamId, lane: Lane, first: u64, last: u64) -> Stream {
    Stream { id, lane, first, last, acknowledged: first - 1, found: true, active: None }
}

fn records(stream: StreamId, from: u64, to: u64) -> Damage {
    Damage { stream: Some(stream), from, to, reason: DamageReason::Records }
}
