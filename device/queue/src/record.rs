//! A record, and its bytes on disk: length, checksum, kind, flags, number, tag, two times, body. All numbers are
//! little-endian.

use fedecks_common::crc32;
use fedecks_protocol::{SkipReason, Tag};

/// The bytes of a record without its body.
pub(crate) const OVERHEAD: usize = PREFIX + FIXED;

const PREFIX: usize = 8;
const FIXED: usize = 34;
const MESSAGE: u8 = 1;
const VOID: u8 = 2;
const RAW: u8 = 1;
const START: u8 = 2;

/// What has a number in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 1.
    pub sequence: u64,
    /// Its id; 0 for numbers without a message.
    pub tag: Tag,
    /// When it was accepted, in milliseconds since 1970-01-01 UTC; 0 if the clock was not plausible.
    pub sent_at_ms: u64,
    /// When it expires, on the same clock; 0 if unknown.
    pub expires_at_ms: u64,
    /// The message, or why there is none.
    pub item: Item,
}

/// A message, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A message.
    Message {
        /// Whether the body is passed on unchanged, and no term.
        raw: bool,
        /// The body.
        body: Vec<u8>,
    },
    /// The numbers from the record's to this one carry no message.
    Void {
        /// The last number.
        to: u64,
        /// Why.
        reason: SkipReason,
    },
}

/// A record that was found in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) record: Record,
    /// Everything before it in its stream was acknowledged when it was written.
    pub(crate) start: bool,
    /// The bytes on disk.
    pub(crate) len: usize,
}

impl Record {
    /// Numbers without a message.
    pub fn void(from: u64, to: u64, reason: SkipReason) -> Self {
        let item = Item::Void { to, reason };
        Self { sequence: from, tag: Tag(0), sent_at_ms: 0, expires_at_ms: 0, item }
    }

    /// The last of its numbers.
    pub fn last(&self) -> u64 {
        match self.item {
            Item::Message { .. } => self.sequence,
            Item::Void { to, .. } => to,
        }
    }

    /// Its bytes on disk.
    pub fn size(&self) -> usize {
        match &self.item {
            Item::Message { body, .. } => OVERHEAD + body.len(),
            Item::Void { .. } => OVERHEAD + 16,
        }
    }

    pub(crate) fn is_message(&self) -> bool {
        matches!(self.item, Item::Message { .. })
    }

    pub(crate) fn encode(&self, start: bool, out: &mut Vec<u8>) {
        let begin = out.len();
        let (kind, raw) = match self.item {
            Item::Message { raw, .. } => (MESSAGE, raw),
            Item::Void { .. } => (VOID, false),
        };
        out.extend((self.size() as u32 - PREFIX as u32).to_le_bytes());
        out.extend([0; 4]);
        out.extend([kind, u8::from(raw) * RAW + u8::from(start) * START]);
        for number in [self.sequence, self.tag.0, self.sent_at_ms, self.expires_at_ms] {
            out.extend(number.to_le_bytes());
        }
        match &self.item {
            Item::Message { body, .. } => out.extend(body),
            Item::Void { to, reason } => {
                out.extend(to.to_le_bytes());
                out.extend(reason.number().to_le_bytes());
            }
        }
        let sum = crc32(&out[begin + PREFIX..]);
        out[begin + 4..begin + PREFIX].copy_from_slice(&sum.to_le_bytes());
    }

    /// The record at the beginning of `bytes`, if it is intact. Its number is greater than `after`.
    pub(crate) fn decode(bytes: &[u8], after: u64) -> Option<Decoded> {
        let len = usize::try_from(u32::from_le_bytes(array(bytes, 0)?)).ok()?;
        let sum = u32::from_le_bytes(array(bytes, 4)?);
        let content = bytes.get(PREFIX..PREFIX.checked_add(len)?)?;
        let [kind, flags] = array(content, 0)?;
        let sequence = number(content, 2)?;
        let body = content.get(FIXED..)?;
        // Before the checksum, so that a search for records does not compute one at every byte.
        if sequence <= after || !matches!(kind, MESSAGE | VOID) || crc32(content) != sum {
            return None;
        }
        let item = if kind == MESSAGE {
            Item::Message { raw: flags & RAW != 0, body: body.to_vec() }
        } else {
            let to = number(body, 0)?;
            if to < sequence {
                return None;
            }
            Item::Void { to, reason: SkipReason::from_number(number(body, 8)?) }
        };
        let record = Self {
            sequence,
            tag: Tag(number(content, 10)?),
            sent_at_ms: number(content, 18)?,
            expires_at_ms: number(content, 26)?,
            item,
        };
        Some(Decoded { record, start: flags & START != 0, len: PREFIX + len })
    }
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_read_as_it_was_written() {
        let item = Item::Message { raw: true, body: b"body".to_vec() };
        let message = Record { sequence: 7, tag: Tag(8), sent_at_ms: 9, expires_at_ms: 10, item };
        for (record, start) in [(message, false), (Record::void(3, 5, SkipReason::Expired), true)] {
            let mut bytes = Vec::new();
            record.encode(start, &mut bytes);
            assert_eq!(bytes.len(), record.size());
            let len = bytes.len();
            let decoded = Record::decode(&bytes, 0);
            assert_eq!(decoded, Some(Decoded { record, start, len }));
            for at in 0..len {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert_eq!(Record::decode(&damaged, 0), None, "{at}");
                assert_eq!(Record::decode(&bytes[..at], 0), None, "{at}");
            }
        }
    }
}
