//! The lock of the one server that may use a store. Other programs use the store without it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_common::{LockFile, NotLocked};
use nix::libc;

use super::new_file::with_suffix;
use crate::error::StoreError;

/// On the file with `.lock` added to the name of the store. That is the name which symbolic links lead to, so that all
/// ways to a store have one lock; like its write-ahead log.
pub(super) struct ServerLock(LockFile);

impl ServerLock {
    /// Waits up to `limit` for another server to end.
    pub(super) fn take(store: &Path, location: &str, limit: Duration) -> Result<Self, StoreError> {
        let store = resolve(store, location)?;
        let lock = LockFile::new(with_suffix(&store, ".lock"));
        let waiting = || {
            tracing::info!(
                store = location,
                "the store is in use, waiting for the process that uses it to end"
            );
        };
        check(lock.take_within(limit, waiting), location)?;
        Ok(Self(lock))
    }

    /// To be called when the store's file was replaced, which may have been a link.
    pub(super) fn follow(&mut self, store: &Path, location: &str) -> Result<(), StoreError> {
        let path = with_suffix(&resolve(store, location)?, ".lock");
        if self.0.path() == path {
            return check(self.0.take(), location);
        }
        let lock = LockFile::new(path);
        check(lock.take(), location)?;
        self.0 = lock;
        Ok(())
    }
}

fn resolve(store: &Path, location: &str) -> Result<PathBuf, StoreError> {
    fs::canonicalize(store).map_err(|error| StoreError::failed(location, "open", error))
}

fn check(taken: Result<(), NotLocked>, location: &str) -> Result<(), StoreError> {
    match taken {
        Ok(()) => Ok(()),
        Err(NotLocked::InUse) => Err(StoreError::InUse { location: location.to_owned() }),
        Err(NotLocked::Failed(error)) if is_unsupported(&error) => {
            tracing::warn!(
                store = location,
                %error,
                "the file system of the store has no locks: a second server would not be noticed"
            );
            Ok(())
        }
        Err(NotLocked::Failed(error)) => Err(StoreError::failed(location, "lock", error)),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP, libc::EINVAL];
    error.raw_os_error().is_some_and(|code| unsupported.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::accounts::AccountStore;
    use crate::conformance::support::cli;
    use crate::sqlite::tests::new_store;
    use crate::sqlite::{SqliteStore, StoreOptions};

    const SOON: Duration = Duration::from_millis(10);

    fn is_in_use(store: &Path) -> bool {
        matches!(ServerLock::take(store, "store", SOON), Err(StoreError::InUse { .. }))
    }

    #[tokio::test]
    async fn a_store_has_one_server_and_any_number_of_others() {
        let (folder, path, server) = new_store();
        let link = folder.path().join("link");
        symlink("store", &link).unwrap();
        for way in [&path, &link, &folder.path().join(".").join("store")] {
            assert!(is_in_use(way), "{way:?}");
        }
        let command = SqliteStore::open_beside(&link, StoreOptions::default()).unwrap();
        command.add_account("marvin", "hash", &cli()).await.unwrap();
        drop(server);
        assert!(!is_in_use(&path), "a command has no lock");
    }

    #[tokio::test]
    async fn a_server_waits_for_another_to_close_the_store() {
        let (_folder, path, server) = new_store();
        let opening = tokio::task::spawn_blocking({
            let path = path.clone();
            move || SqliteStore::open(path).map(drop)
        });
        server.add_account("marvin", "hash", &cli()).await.unwrap();
        drop(server);
        opening.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_lock_follows_a_restored_store() {
        let (folder, path, store) = new_store();
        drop(store);
        let link = folder.path().join("link");
        symlink("store", &link).unwrap();
        let server = SqliteStore::open(&link).unwrap();
        let copy = folder.path().join("copy");
        SqliteStore::back_up(&path, &copy).unwrap();
        // It replaces the link by a file.
        SqliteStore::restore(&copy, &link).unwrap();
        server.add_account("marvin", "hash", &cli()).await.unwrap();
        assert!(is_in_use(&link));
        assert!(!is_in_use(&path), "no server uses the former file");
        drop(server);
        assert!(!is_in_use(&link));
    }
}
