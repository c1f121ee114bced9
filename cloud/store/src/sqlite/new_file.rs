//! New files: complete or absent, for their owner only, and never in place of another file or through a
//! symbolic link. Also the names of the files that SQLite keeps next to a database.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// The files next to a database.
const COMPANIONS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// An unfinished file. It and its companions are removed on drop.
pub(super) struct Unfinished(PathBuf);

impl Unfinished {
    /// An empty file in the same directory, for its owner only.
    pub(super) fn next_to(file: &Path) -> io::Result<Self> {
        let name = with_suffix(file, &format!(".{:08x}.new", rand::random::<u32>()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name)?;
        Ok(Self(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Renames it to `file`, which it replaces.
    pub(super) fn replace(self, file: &Path) -> io::Result<()> {
        fs::rename(&self.0, file)?;
        sync_dir_of(file)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // A file that cannot be removed does no harm.
        let _ = fs::remove_file(&self.0);
        for suffix in COMPANIONS {
            let _ = fs::remove_file(with_suffix(&self.0, suffix));
        }
    }
}

/// Creates `file` with the content that `write` gives to an empty file. Fails if there is a file, or a link,
/// of that name. `action` and `location` are for errors.
pub(super) fn create(
    file: &Path,
    action: &'static str,
    location: &str,
    write: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::failed(location, action, error);
    if fs::symlink_metadata(file).is_ok() {
        let exists = "a file of this name already exists: choose another name, or remove it";
        return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, exists)));
    }
    let unfinished = Unfinished::next_to(file).map_err(failed)?;
    write(unfinished.path())?;
    let synced = File::open(unfinished.path()).and_then(|written| written.sync_all());
    synced.map_err(failed)?;
    // Not by renaming, which would overwrite a file that was created meanwhile.
    fs::hard_link(unfinished.path(), file).map_err(failed)?;
    drop(unfinished);
    sync_dir_of(file).map_err(failed)
}

/// The path with `suffix` added to the file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A new directory entry is on disk when the directory is.
fn sync_dir_of(file: &Path) -> io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}
