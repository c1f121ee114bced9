//! The data directory, and the lock by which one client at a time uses it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fedecks_common::{LockFile, NotLocked};
use tracing::info;

use super::store_error::StoreError;

/// The directory that a device's files are in. Clones share its lock.
///
/// Two clients with the same token would replace each other at the cloud, over and over. So a client takes the lock
/// of its directory, which is the file `lock` in it, and the second one gets [`StoreError::InUse`]. The kernel
/// releases the lock when the process ends, in whatever way. While it is held, the file system cannot be unmounted.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
    lock: Option<Arc<LockFile>>,
}

impl DataDir {
    /// The directory with its lock, which is not taken yet. Neither needs to exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let lock = Some(Arc::new(LockFile::new(path.join("lock"))));
        Self { path, lock }
    }

    /// The directory without its lock, to look at what another process uses.
    pub fn unlocked(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lock: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock, unless it is held, or this has none. Blocks on the disk. Any error but
    /// [`StoreError::InUse`] means that it is unknown whether another process uses the directory.
    pub fn lock(&self) -> Result<(), StoreError> {
        self.lock_within(Duration::ZERO)
    }

    /// [`DataDir::lock`], which waits up to `limit` for another process to end.
    pub fn lock_within(&self, limit: Duration) -> Result<(), StoreError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let directory = self.path.display();
        let waiting = || {
            info!(%directory, "the data directory is in use, waiting for the process that uses it to end");
        };
        lock.take_within(limit, waiting).map_err(|error| match error {
            NotLocked::InUse => StoreError::InUse { directory: self.path.clone() },
            NotLocked::Failed(source) => StoreError::io(&self.path, "lock", lock.path(), source),
        })
    }

    /// Fails if another process uses the directory. Where there can be no lock, whatever needs the directory says
    /// what is wrong with it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.lock() {
            Err(error @ StoreError::InUse { .. }) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether it has a lock, taken or not.
    pub(crate) fn has_lock(&self) -> bool {
        self.lock.is_some()
    }
}

impl From<PathBuf> for DataDir {
    /// Without its lock.
    fn from(path: PathBuf) -> Self {
        Self::unlocked(path)
    }
}

impl From<&PathBuf> for DataDir {
    /// Without its lock.
    fn from(path: &PathBuf) -> Self {
        Self::unlocked(path)
    }
}

impl From<&Path> for DataDir {
    /// Without its lock.
    fn from(path: &Path) -> Self {
        Self::unlocked(path)
    }
}

impl From<&str> for DataDir {
    /// Without its lock.
    fn from(path: &str) -> Self {
        Self::unlocked(path)
    }
}

impl From<String> for DataDir {
    /// Without its lock.
    fn from(path: String) -> Self {
        Self::unlocked(path)
    }
}

impl From<&Self> for DataDir {
    fn from(shared: &Self) -> Self {
        shared.clone()
    }
}
