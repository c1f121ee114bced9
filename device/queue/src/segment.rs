//! A segment: its header, what memory knows of it, and the search for its intact records.

use fedecks_common::crc32;
use fedecks_protocol::{Lane, SkipReason, StreamId};

use crate::record::{Decoded, Record, array, number};

/// The bytes of a header: magic, version, lane, stream, first number, checksum.
pub(crate) const HEADER: usize = 40;

const MAGIC: &[u8; 8] = b"fedecksQ";
const VERSION: u16 = 1;
const SUFFIX: &str = ".segment";
/// How many bytes the search behind damage reads records of, so that hostile lengths do not make it quadratic.
const SEARCH: usize = 4 * 1024 * 1024;

/// What memory knows of a segment.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) order: u64,
    pub(crate) stream: StreamId,
    pub(crate) lane: Lane,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) messages: u64,
    /// Up to the end of the last confirmed record.
    pub(crate) used: usize,
    /// The length of the file.
    pub(crate) len: u64,
    pub(crate) expiry: Expiry,
    /// It has nothing but one record without messages.
    pub(crate) void: Option<SkipReason>,
}

/// When the messages of a segment expire, in milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Expiry {
    pub(crate) earliest: Option<u64>,
    latest: u64,
    unknown: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Known {
        stream: StreamId,
        lane: Lane,
        first: u64,
    },
    Newer,
    /// Not one byte was written.
    Blank,
    Damaged,
}

impl Segment {
    pub(crate) fn name(&self) -> String {
        name(self.order)
    }

    pub(crate) fn add(&mut self, record: &Record) {
        self.last = record.last();
        if record.is_message() {
            self.messages += 1;
            self.expiry.add(record.expires_at_ms);
        }
    }
}

impl Expiry {
    fn add(&mut self, at: u64) {
        if at == 0 {
            self.unknown = true;
            return;
        }
        self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
        self.latest = self.latest.max(at);
    }

    /// Whether there are messages and all have expired.
    pub(crate) fn is_over(self, now_ms: u64) -> bool {
        !self.unknown && self.earliest.is_some() && self.latest <= now_ms
    }
}

pub(crate) fn name(order: u64) -> String {
    format!("{order:016x}{SUFFIX}")
}

pub(crate) fn order(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let order = u64::from_str_radix(digits, 16).ok()?;
    (self::name(order) == name).then_some(order)
}

pub(crate) fn encode_header(stream: StreamId, lane: Lane, first: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([lane.number() as u8, 0]);
    bytes.extend(stream.0);
    bytes.extend(first.to_le_bytes());
    bytes.extend(crc32(&bytes).to_le_bytes());
    bytes
}

pub(crate) fn decode_header(bytes: &[u8]) -> Header {
    if bytes.iter().all(|byte| *byte == 0) {
        return Header::Blank;
    }
    known(bytes).unwrap_or(Header::Damaged)
}

fn known(bytes: &[u8]) -> Option<Header> {
    let version = u16::from_le_bytes(array(bytes, 8)?);
    if bytes.get(..8)? != MAGIC {
        return None;
    }
    if version > VERSION {
        return Some(Header::Newer);
    }
    if u32::from_le_bytes(array(bytes, HEADER - 4)?) != crc32(&bytes[..HEADER - 4]) {
        return None;
    }
    let lane = Lane::from_number(u64::from(bytes[10]))?;
    Some(Header::Known { stream: StreamId(array(bytes, 12)?), lane, first: number(bytes, 28)? })
}

/// The next intact record at `at`, and then the one after.
pub(crate) fn next(bytes: &[u8], at: usize, after: u64) -> Option<Decoded> {
    Record::decode(bytes.get(at..)?, after)
}

/// The last number of an intact record behind damage at `at`, if there is one.
pub(crate) fn behind_damage(bytes: &[u8], at: usize, mut after: u64) -> Option<u64> {
    // A record has more bytes than one, so that no number is further away than this.
    let furthest = after.saturating_add(bytes.len() as u64);
    let (mut at, mut budget, mut found) = (at, SEARCH, None);
    while at < bytes.len() && budget > 0 {
        let Some(len) = array(bytes, at).map(u32::from_le_bytes) else { break };
        // Zeros are the usual content behind the last record.
        if len == 0 || len as usize > bytes.len() - at {
            at += 1;
            continue;
        }
        budget = budget.saturating_sub(len as usize);
        match next(bytes, at, after).filter(|decoded| decoded.record.sequence <= furthest) {
            Some(decoded) => {
                after = decoded.record.last();
                found = Some(after);
                at += decoded.len;
            }
            None => at += 1,
        }
    }
    found
}
