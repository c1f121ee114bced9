//! The errors of the data directory and its files.

use std::io;
use std::path::{Path, PathBuf};

use nix::libc;

/// Why the data directory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory does not exist; its partition may be mounted later.
    #[error(
        "the data directory {} does not exist; is its partition mounted?", directory.display()
    )]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory exists but is not writable: it is mounted read-only or belongs to another user.
    #[error("the data directory {} cannot be written: {source}", directory.display())]
    NotWritable {
        /// The directory.
        directory: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process uses the directory, or another client of this one.
    #[error("the data directory {} is in use by another process", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// Any other I/O error.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    /// Of a system call on `file` in the directory.
    pub(super) fn io(
        directory: &Path,
        action: &'static str,
        file: &Path,
        source: io::Error,
    ) -> Self {
        let directory = directory.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOENT) => Self::NoDirectory { directory },
            Some(libc::EROFS) => Self::NotWritable { directory, source },
            Some(libc::EACCES | libc::EPERM) if action != "read" => {
                Self::NotWritable { directory, source }
            }
            _ => Self::Io { action, file: file.to_owned(), source },
        }
    }
}
