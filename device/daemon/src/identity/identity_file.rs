//! The file in the data directory that keeps the device's id and its source.

use fedecks_device::storage::{AtomicFile, DataDir, StoreError};
use fedecks_protocol::DeviceId;

use super::id_source::IdSource;
use super::sources::Found;

/// An id and the source that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Derived {
    pub(super) source: IdSource,
    pub(super) found: Found,
}

/// The file `identity` in the data directory. Every call blocks on the disk.
#[derive(Debug, Clone)]
pub(crate) struct IdentityFile(AtomicFile);

impl IdentityFile {
    /// The file in `directory`, which need not exist yet.
    pub(crate) fn new(directory: impl Into<DataDir>) -> Self {
        Self(AtomicFile::new(directory, "identity"))
    }

    pub(super) fn read(&self) -> Result<Option<Derived>, StoreError> {
        self.0.read(parse)
    }

    pub(super) fn write(&self, Derived { source, found }: &Derived) -> Result<(), StoreError> {
        let part = found.part.as_ref().map_or_else(String::new, |part| format!("part {part}\n"));
        self.0.write(&format!("source {source}\nid {}\n{part}", found.id))
    }
}

pub(super) fn parse(body: &str) -> Option<Derived> {
    let mut lines = body.lines();
    let source = lines.next()?.strip_prefix("source ")?.parse().ok()?;
    let id = DeviceId::new(lines.next()?.strip_prefix("id ")?).ok()?;
    let part = match lines.next() {
        Some(line) => Some(line.strip_prefix("part ")?.to_owned()),
        None => None,
    };
    lines.next().is_none().then_some(Derived { source, found: Found { id, part } })
}
