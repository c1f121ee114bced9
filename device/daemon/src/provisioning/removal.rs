//! Removes used files, and renames rejected ones, unless they were replaced meanwhile.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use tracing::warn;

use super::source::FileStamp;

/// Why a file was neither removed nor renamed.
pub(super) enum NotRemoved {
    /// It was replaced or removed by another program.
    Replaced,
    Failed(io::Error),
}

fn check_unchanged(path: &Path, stamp: &FileStamp) -> Result<(), NotRemoved> {
    match FileStamp::at(path) {
        Ok(now) if now == *stamp => Ok(()),
        Ok(_) => Err(NotRemoved::Replaced),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NotRemoved::Replaced),
        Err(error) => Err(NotRemoved::Failed(error)),
    }
}

pub(super) fn remove(path: &Path, stamp: &FileStamp) -> Result<(), NotRemoved> {
    check_unchanged(path, stamp)?;
    fs::remove_file(path).map_err(NotRemoved::Failed)?;
    sync_parent(path);
    Ok(())
}

/// Renames the file and writes the reason into another one next to it.
pub(super) fn rename_rejected(
    path: &Path,
    stamp: &FileStamp,
    reason: &str,
) -> Result<PathBuf, NotRemoved> {
    check_unchanged(path, stamp)?;
    let renamed = with_suffix(path, ".rejected");
    fs::rename(path, &renamed).map_err(NotRemoved::Failed)?;
    let note = with_suffix(&renamed, ".txt");
    // For someone who takes the card out of the device; the status has the same reason.
    if let Err(error) = write_note(&note, reason) {
        warn!(file = %note.display(), %error, "cannot write the reason next to the rejected file");
    }
    sync_parent(path);
    Ok(renamed)
}

fn write_note(path: &Path, reason: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    writeln!(file, "Rejected: {reason}. The device will not try this file again.")?;
    file.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A file that comes back after a power cut is recognized by the record.
fn sync_parent(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Ok(()) => {}
        // Some file systems do not support it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => warn!(folder = %folder.display(), %error, "cannot sync the directory"),
    }
}
