//! A lock that one process holds, and in it one owner: on a file that exists for nothing else.
//!
//! The kernel releases it when its holder ends, in whatever way, so no lock is ever left over.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use crate::dir_owner::give_to_owner_of_dir;

/// A lock on the file of this name. The file is empty, for its owner only, and never removed: after a removal
/// another process can take the lock of a new file. Dropping this releases the lock.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    held: Mutex<Option<Flock<File>>>,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum NotLocked {
    /// Another process has it, or another [`LockFile`] in this one.
    InUse,
    /// The file cannot be opened, or its file system has no locks.
    Failed(io::Error),
}

/// How often a lock that is waited for is tried.
const RETRY: Duration = Duration::from_millis(100);

/// How often a file that others replace meanwhile is opened.
const ATTEMPTS: usize = 16;

impl LockFile {
    /// The lock at this path. Does not take it yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), held: Mutex::new(None) }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock, without waiting for its holder. If it is held already, makes sure that the file at the
    /// path is still the same, and otherwise takes the lock of that one: a file system may have been mounted
    /// there since. Blocks on the disk.
    pub fn take(&self) -> Result<(), NotLocked> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|file| self.is_at_path(file)) {
            return Ok(());
        }
        // Not for writing: a file system that is or becomes read-only does not allow it. NFS requires it.
        let mut writable = false;
        for _ in 0..ATTEMPTS {
            let Some(file) = self.open(writable).map_err(NotLocked::Failed)? else { continue };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) if self.is_at_path(&locked) => {
                    *held = Some(locked);
                    return Ok(());
                }
                // It was replaced between the two calls.
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK)) => return Err(NotLocked::InUse),
                Err((_, Errno::EBADF)) if !writable => writable = true,
                Err((_, error)) => return Err(NotLocked::Failed(error.into())),
            }
        }
        Err(NotLocked::Failed(io::Error::other("it is replaced over and over")))
    }

    /// [`LockFile::take`], which waits up to `limit` for its holder, and calls `waiting` before. Blocks.
    pub fn take_within(&self, limit: Duration, waiting: impl FnOnce()) -> Result<(), NotLocked> {
        let deadline = Instant::now() + limit;
        let mut waiting = Some(waiting);
        loop {
            match self.take() {
                Err(NotLocked::InUse) if Instant::now() < deadline => {}
                taken => return taken,
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            sleep(RETRY);
        }
    }

    /// Opens the file, or creates it. `None` if another process has created or removed it meanwhile.
    fn open(&self, writable: bool) -> io::Result<Option<File>> {
        let open = |more| {
            OpenOptions::new()
                .read(true)
                .write(writable)
                .mode(0o600)
                // A pipe must not block, and a link is not ours.
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | more)
                .open(&self.path)
        };
        match open(0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(file) if !file.metadata()?.is_file() => {
                return Err(io::Error::other("it is not a regular file"));
            }
            opened => return opened.map(Some),
        }
        match open(libc::O_CREAT | libc::O_EXCL) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            created => {
                let file = created?;
                give_to_owner_of_dir(&file, &self.path);
                Ok(Some(file))
            }
        }
    }

    fn is_at_path(&self, file: &File) -> bool {
        let id = |found: Metadata| (found.dev(), found.ino());
        match (fs::symlink_metadata(&self.path), file.metadata()) {
            (Ok(there), Ok(ours)) => id(there) == id(ours),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::geteuid;

    use super::*;

    fn in_use(taken: Result<(), NotLocked>) -> bool {
        matches!(taken, Err(NotLocked::InUse))
    }

    #[test]
    fn a_lock_has_one_holder_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (first, second) = (LockFile::new(&path), LockFile::new(&path));
        first.take().unwrap();
        first.take().unwrap();
        assert!(in_use(second.take()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(first);
        second.take().unwrap();
    }

    #[test]
    fn waiting_ends_with_the_holder_or_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (first, second) = (LockFile::new(&path), LockFile::new(&path));
        first.take().unwrap();
        let mut waited = 0;
        assert!(in_use(second.take_within(Duration::from_millis(10), || waited += 1)));
        second.take_within(Duration::from_secs(30), || drop(first)).unwrap();
        second.take_within(Duration::ZERO, || waited += 1).unwrap();
        assert_eq!(waited, 1);
    }

    #[test]
    fn a_replaced_file_is_locked_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (first, second) = (LockFile::new(&path), LockFile::new(&path));
        first.take().unwrap();
        fs::remove_file(&path).unwrap();
        second.take().unwrap();
        assert!(in_use(first.take()), "it has the lock of a file that is gone");
        drop(second);
        first.take().unwrap();
    }

    #[test]
    fn links_and_what_is_no_file_are_not_locked() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        symlink(file("target"), file("link")).unwrap();
        fs::create_dir(file("directory")).unwrap();
        nix::unistd::mkfifo(&file("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "directory", "pipe", "no/such/directory"] {
            let taken = LockFile::new(file(name)).take();
            assert!(matches!(taken, Err(NotLocked::Failed(_))), "{name}: {taken:?}");
        }
        assert!(!file("target").exists());
    }

    #[test]
    fn what_root_creates_belongs_to_the_directorys_owner() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::os::unix::fs::chown(folder.path(), Some(4242), Some(4243)).unwrap();
        LockFile::new(&path).take().unwrap();
        let owner = fs::metadata(&path).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (4242, 4243));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        // Root, as which these tests may run, may write anything. setfsuid applies to this thread only.
        let unprivileged = std::thread::spawn(move || {
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
            let (first, second) = (LockFile::new(&path), LockFile::new(&path));
            first.take().unwrap();
            assert!(in_use(second.take()));
            assert!(File::options().write(true).open(&path).is_err());
        });
        unprivileged.join().unwrap();
    }
}
