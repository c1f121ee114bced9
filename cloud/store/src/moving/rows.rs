//! Rows in PostgreSQL's binary format of `COPY`, and the digest of a table: that of such a file with all of its rows.

use bytes::Bytes;
use ring::digest::{Context, Digest, SHA256};
use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};

use super::tables::Kind;

/// A batch is written when it has about this many bytes.
const BATCH_BYTES: usize = 1024 * 1024;

/// What such a file begins with: its signature, and neither flags nor an extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with: a row with -1 columns.
const TRAILER: &[u8] = &[0xff, 0xff];

/// The rows of a table, in batches, and what they have been.
pub(super) struct Rows {
    batch: Vec<u8>,
    digest: Context,
    count: u64,
    bytes: u64,
}

impl Rows {
    pub(super) fn new() -> Self {
        let mut digest = Context::new(&SHA256);
        digest.update(HEADER);
        Self { batch: HEADER.to_vec(), digest, count: 0, bytes: 0 }
    }

    /// Adds a row. Its columns are of these kinds.
    pub(super) fn push<'k>(
        &mut self,
        row: &Row<'_>,
        kinds: impl ExactSizeIterator<Item = &'k Kind>,
    ) -> rusqlite::Result<()> {
        let begin = self.batch.len();
        let columns = i16::try_from(kinds.len()).unwrap_or(i16::MAX);
        self.batch.extend_from_slice(&columns.to_be_bytes());
        for (column, kind) in kinds.enumerate() {
            let value = row.get_ref(column)?;
            let value = self.add(value, *kind);
            value.ok_or_else(|| unexpected(row, column))?;
        }
        let row = self.batch.get(begin..).unwrap_or_default();
        self.digest.update(row);
        self.bytes += row.len() as u64;
        self.count += 1;
        Ok(())
    }

    fn add(&mut self, value: ValueRef<'_>, kind: Kind) -> Option<()> {
        match (kind, value) {
            (_, ValueRef::Null) => self.batch.extend_from_slice(&(-1_i32).to_be_bytes()),
            (Kind::Number, ValueRef::Integer(number)) => self.field(&number.to_be_bytes())?,
            (Kind::SmallNumber, ValueRef::Integer(number)) => {
                self.field(&i16::try_from(number).ok()?.to_be_bytes())?;
            }
            (Kind::Truth, ValueRef::Integer(number)) => self.field(&[u8::from(number != 0)])?,
            (Kind::Text, ValueRef::Text(text)) => self.text(std::str::from_utf8(text).ok()?)?,
            (Kind::LowerText, ValueRef::Text(text)) => {
                self.text(&std::str::from_utf8(text).ok()?.to_lowercase())?;
            }
            (Kind::Bytes, ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => self.field(bytes)?,
            _ => return None,
        }
        Some(())
    }

    /// PostgreSQL has no texts with the character 0.
    fn text(&mut self, text: &str) -> Option<()> {
        match text.contains('\0') {
            true => self.field(text.replace('\0', "\u{fffd}").as_bytes()),
            false => self.field(text.as_bytes()),
        }
    }

    fn field(&mut self, bytes: &[u8]) -> Option<()> {
        self.batch.extend_from_slice(&i32::try_from(bytes.len()).ok()?.to_be_bytes());
        self.batch.extend_from_slice(bytes);
        Some(())
    }

    /// Whether the batch has to be written.
    pub(super) fn is_full(&self) -> bool {
        self.batch.len() >= BATCH_BYTES
    }

    /// The batch, as a file. The next one is empty.
    pub(super) fn batch(&mut self) -> Option<Bytes> {
        if self.batch.len() == HEADER.len() {
            return None;
        }
        self.batch.extend_from_slice(TRAILER);
        let batch = Bytes::from(std::mem::take(&mut self.batch));
        self.batch = HEADER.to_vec();
        Some(batch)
    }

    /// Forgets the batch, of which only the size is wanted.
    pub(super) fn skip_batch(&mut self) {
        self.batch.truncate(HEADER.len());
    }

    /// How many rows there were, and how many bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.count, self.bytes)
    }

    pub(super) fn digest(mut self) -> Digest {
        self.digest.update(TRAILER);
        self.digest.finish()
    }
}

/// An error about a value that this library cannot have written.
fn unexpected(row: &Row<'_>, column: usize) -> rusqlite::Error {
    let name = row.as_ref().column_name(column).map(str::to_owned).unwrap_or_default();
    let kind = row.get_ref(column).map_or(Type::Null, |value| value.data_type());
    rusqlite::Error::InvalidColumnType(column, name, kind)
}
