//! Bytes that wait to be read or sent.

/// Bytes that are consumed from the front. Has no allocation once its session rests, and then is as small as a pointer, since
/// most sockets have nothing in theirs.
#[derive(Debug, Default)]
pub(super) struct ByteQueue(Option<Box<Waiting>>);

/// What an empty queue may keep until the session rests, in bytes.
const SMALL: usize = 256;

/// From how much on what was consumed is released before all is, in bytes.
const RELEASED: usize = 16 * 1024;

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    from: usize,
}

impl ByteQueue {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes().extend_from_slice(bytes);
        }
    }

    /// What waits, to be extended.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_default().bytes
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.0.as_ref().and_then(|it| it.bytes.get(it.from..)).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    pub(super) fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |it| it.bytes.capacity())
    }

    /// Frees what it has kept for the next bytes.
    pub(super) fn free_if_empty(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }

    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let rest = self.rest();
        let fits = rest.len().min(into.len());
        into[..fits].copy_from_slice(&rest[..fits]);
        self.consume(fits);
        fits
    }

    pub(super) fn consume(&mut self, count: usize) {
        let Some(it) = &mut self.0 else { return };
        it.from += count;
        if it.from >= it.bytes.len() {
            if it.bytes.capacity() > SMALL {
                self.0 = None;
            } else {
                it.bytes.clear();
                it.from = 0;
            }
        } else if it.from > it.bytes.len() / 2 && it.from > RELEASED {
            // Otherwise a queue that is never empty would never release what was consumed.
            it.bytes.drain(..it.from);
            it.bytes.shrink_to_fit();
            it.from = 0;
        }
    }
}
