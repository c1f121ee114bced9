//! A directory of the real file system.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fedecks_common::give_to_owner_of_dir;
use nix::errno::Errno;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;

use crate::directory::{Directory, Entry, Space};

/// A directory of the real file system. One file stays open: the one that was used last.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    overwrites_in_place: Option<bool>,
    open: Option<(String, File)>,
}

impl Disk {
    /// The directory, which need not exist: the first file creates it, if its parent exists.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), overwrites_in_place: None, open: None }
    }

    /// Decides whether segments are filled with zeros first, instead of the kind of the file system.
    #[must_use]
    pub fn with_overwriting(mut self, overwrites_in_place: bool) -> Self {
        self.overwrites_in_place = Some(overwrites_in_place);
        self
    }

    /// Creates the directory with access for its owner only. A power cut must not lose it with its content.
    fn create_directory(&self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&self.path)?;
        if let Ok(directory) = File::open(&self.path) {
            give_to_owner_of_dir(&directory, &self.path);
        }
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        // The permission to create it does not imply the permission to open its parent.
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
        Ok(())
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
        let found = match fs::read_dir(&self.path) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.path.parent().is_some_and(Path::is_dir) =>
            {
                return Ok(entries);
            }
            found => found?,
        };
        for entry in found {
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
        let path = self.path.join(name);
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_directory()?;
                options.open(&path)?
            }
            opened => opened?,
        };
        give_to_owner_of_dir(&file, &path);
        self.open = Some((name.to_owned(), file));
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
        let found = match statvfs(&self.path) {
            Err(Errno::ENOENT) => self.path.parent().map_or(Err(Errno::ENOENT), statvfs)?,
            found => found?,
        };
        let unit = u64::from(found.fragment_size());
        Ok(Space {
            free: u64::from(found.blocks_available()).saturating_mul(unit),
            total: u64::from(found.blocks()).saturating_mul(unit),
        })
    }

    fn overwrites_in_place(&self) -> bool {
        // ext2 and ext3 have the same number. f2fs, UBIFS, btrfs and overlays write elsewhere.
        self.overwrites_in_place.unwrap_or_else(|| {
            let found = statfs(&self.path)
                .or_else(|_| self.path.parent().map_or(Err(Errno::ENOENT), statfs));
            found.is_ok_and(|found| found.filesystem_type() == EXT4_SUPER_MAGIC)
        })
    }
}
