//! Bytes that wait to be read or sent.

use super::CONGESTED;

/// Bytes that are consumed from the front. Has no allocation while it is empty.
#[derive(Debug, Default)]
pub(super) struct ByteQueue {
    pub(super) bytes: Vec<u8>,
    from: usize,
}

impl ByteQueue {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.from >= self.bytes.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let rest = self.rest();
        let fits = rest.len().min(into.len());
        into[..fits].copy_from_slice(&rest[..fits]);
        self.consume(fits);
        fits
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.from += count;
        if self.is_empty() {
            *self = Self::default();
        } else if self.from > self.bytes.len() / 2 && self.from > CONGESTED {
            // Otherwise a queue that is never empty would never release what was consumed.
            self.bytes.drain(..self.from);
            self.bytes.shrink_to_fit();
            self.from = 0;
        }
    }
}
