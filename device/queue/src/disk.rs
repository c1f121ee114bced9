//! A directory of the real file system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{EXT4_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;

use crate::directory::{Directory, Entry, Space};

/// A directory of the real file system. One file stays open: the one that was used last.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    overwrites_in_place: bool,
    open: Option<(String, File)>,
}

impl Disk {
    /// Creates the directory if it is missing. Fails neither if that is impossible nor if it is read-only: what is
    /// done with it later then does.
    pub fn new(path: &Path) -> Self {
        let _ = fs::create_dir_all(path);
        // ext2 and ext3 have the same number. f2fs, UBIFS, btrfs and overlays write elsewhere.
        let overwrites_in_place =
            statfs(path).is_ok_and(|found| found.filesystem_type() == EXT4_SUPER_MAGIC);
        Self { path: path.to_owned(), overwrites_in_place, open: None }
    }

    /// Decides whether segments are filled with zeros first, instead of the kind of the file system.
    #[must_use]
    pub fn with_overwriting(mut self, overwrites_in_place: bool) -> Self {
        self.overwrites_in_place = overwrites_in_place;
        self
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        let file = match self.open.take() {
            Some((open, file)) if open == name => file,
            _ => OpenOptions::new().read(true).write(true).open(self.path.join(name))?,
        };
        Ok(&self.open.insert((name.to_owned(), file)).1)
    }

    fn close(&mut self, name: &str) {
        if self.open.as_ref().is_some_and(|(open, _)| open == name) {
            self.open = None;
        }
    }
}

impl Directory for Disk {
    fn list(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, len: metadata.len() });
            }
        }
        Ok(entries)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        self.open = Some((name.to_owned(), options.open(self.path.join(name))?));
        Ok(())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn read_at(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        let rest = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(len);
        let mut bytes = vec![0; len.min(rest)];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.close(name);
        fs::remove_file(self.path.join(name))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.close(from);
        self.close(to);
        fs::rename(self.path.join(from), self.path.join(to))
    }

    #[allow(clippy::useless_conversion)] // The counts have 32 bits on some targets.
    fn space(&mut self) -> io::Result<Space> {
        let found = statvfs(&self.path)?;
        let unit = u64::from(found.fragment_size());
        Ok(Space {
            free: u64::from(found.blocks_available()).saturating_mul(unit),
            total: u64::from(found.blocks()).saturating_mul(unit),
        })
    }

    fn overwrites_in_place(&self) -> bool {
        self.overwrites_in_place
    }
}
