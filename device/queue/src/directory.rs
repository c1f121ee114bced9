//! What the queue needs of a directory: small files by name, whose writes last once they are synced.

use std::io;

/// A directory with files.
pub trait Directory {
    /// The names and lengths of all files.
    fn list(&mut self) -> io::Result<Vec<Entry>>;

    /// Creates an empty file, or empties the one of that name.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Writes at an offset, which is at most the file's length: there it appends.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once all that was written to the file would survive a power cut.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// The same for the creation, removal and renaming of files.
    fn sync_names(&mut self) -> io::Result<()>;

    /// At most `len` bytes from an offset; fewer only at the end of the file.
    fn read_at(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Renames a file and replaces the one that has the new name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// The space of the partition.
    fn space(&mut self) -> io::Result<Space>;

    /// Whether the file system writes a block again where it was, so that segments are worth filling with zeros.
    fn overwrites_in_place(&self) -> bool;
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// The space of a partition in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What may still be written.
    pub free: u64,
    /// The size.
    pub total: u64,
}
