//! Backups of a store: makes them and restores them. A backup is a store file like any other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::file::with_suffix;
use super::schema::{self, Found};
use super::store::SqliteStore;
use crate::error::StoreError;

/// How long a backup waits for another process that has locked the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

impl SqliteStore {
    /// Copies the store at `store` to a new file: a consistent snapshot, even while the store is in use.
    /// The copy is readable by its owner only, checked, on disk, and complete or absent. An existing file
    /// is not overwritten.
    ///
    /// Blocks on the disk: in a server, call it outside the runtime.
    pub fn back_up(store: &Path, copy: &Path) -> Result<(), StoreError> {
        let location = format!("{} to {}", store.display(), copy.display());
        let failed = |error| StoreError::failed(&location, "back up", error);
        if fs::symlink_metadata(copy).is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let unfinished = Unfinished::next_to(copy).map_err(failed)?;
        copy_store(store, &unfinished.0)?;
        // Not by renaming, which would overwrite a file that was created meanwhile.
        fs::hard_link(&unfinished.0, copy).map_err(failed)?;
        drop(unfinished);
        sync_dir_of(copy).map_err(failed)
    }

    /// Replaces the store with a copy that [`SqliteStore::back_up`] made. The replaced store is kept with
    /// `.replaced` added to its name. A running server notices, and uses the copy. If root does this, the
    /// store gets the owner of its directory.
    ///
    /// Whatever was blocked, revoked or added since the copy was made has to be done again. Blocks on the
    /// disk.
    pub fn restore(copy: &Path, store: &Path) -> Result<(), StoreError> {
        let location = format!("{} from {}", store.display(), copy.display());
        let failed = |error| StoreError::failed(&location, "restore", error);
        let unfinished = Unfinished::next_to(store).map_err(failed)?;
        unfinished.give_to_owner_of_dir().map_err(failed)?;
        copy_store(copy, &unfinished.0)?;
        // The journal mode is part of the file; changing it later needs an exclusive lock.
        Connection::open(&unfinished.0)
            .and_then(|database| database.pragma_update(None, "journal_mode", "WAL"))
            .map_err(|error| StoreError::failed(&location, "restore", error))?;
        let replaced = with_suffix(store, ".replaced");
        // The write-ahead log goes first: SQLite would apply it to the new file.
        for suffix in ["-wal", "-shm", ""] {
            match fs::rename(with_suffix(store, suffix), with_suffix(&replaced, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        fs::rename(&unfinished.0, store).map_err(failed)?;
        std::mem::forget(unfinished);
        sync_dir_of(store).map_err(failed)
    }
}

/// A file that is removed on drop.
struct Unfinished(PathBuf);

impl Unfinished {
    /// An empty file in the same directory, for its owner only.
    fn next_to(file: &Path) -> io::Result<Self> {
        let name = with_suffix(file, &format!(".{:08x}.new", rand::random::<u32>()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name)?;
        Ok(Self(name))
    }

    /// Only as root: the server's user must be able to read what root restores.
    fn give_to_owner_of_dir(&self) -> io::Result<()> {
        let dir = fs::metadata(dir_of(&self.0))?;
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(&self.0, Some(dir.uid()), Some(dir.gid()))?;
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // A file that cannot be removed does no harm.
        let _ = fs::remove_file(&self.0);
    }
}

/// Copies a store to an empty file, then checks and syncs the copy.
fn copy_store(from: &Path, to: &Path) -> Result<(), StoreError> {
    let location = from.display().to_string();
    let reading = |error: rusqlite::Error| StoreError::failed(&location, "copy", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(from, flags).map_err(reading)?;
    database.busy_timeout(LOCK_TIMEOUT).map_err(reading)?;
    check_version(&database, &location)?;
    let target = to.to_str().ok_or_else(|| {
        StoreError::failed(&to.display().to_string(), "copy to", "its path is not valid UTF-8")
    })?;
    database.execute("VACUUM INTO ?1", [target]).map_err(reading)?;
    drop(database);

    let location = to.display().to_string();
    let checking = |error| StoreError::failed(&location, "check", error);
    let copy =
        Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(checking)?;
    let verdict: String =
        copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(checking)?;
    if verdict != "ok" {
        return Err(StoreError::failed(&location, "check", verdict));
    }
    check_version(&copy, &location)?;
    drop(copy);
    let sync = File::open(to).and_then(|file| file.sync_all());
    sync.map_err(|error| StoreError::failed(&location, "write", error))
}

fn check_version(database: &Connection, location: &str) -> Result<(), StoreError> {
    let found =
        schema::inspect(database).map_err(|error| StoreError::failed(location, "read", error))?;
    let (location, known) = (location.to_owned(), schema::latest());
    match found {
        Found::Foreign | Found::Version(0) => Err(StoreError::Foreign { location }),
        Found::Version(found) if found > known => Err(StoreError::Newer { location, found, known }),
        Found::Version(_) => Ok(()),
    }
}

/// A new directory entry is on disk when the directory is.
fn sync_dir_of(file: &Path) -> io::Result<()> {
    File::open(dir_of(file))?.sync_all()
}

fn dir_of(file: &Path) -> &Path {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::accounts::AccountStore;
    use crate::audit::AuditStore;
    use crate::conformance::support::{cli, device};
    use crate::devices::DeviceStore;
    use crate::sqlite::tests::{names, new_store};

    #[tokio::test]
    async fn a_backup_has_all_changes_and_can_be_restored() {
        let (folder, path, store) = new_store();
        let copy = path.with_file_name("copy");
        store.add_account("marvin", "hash", &cli()).await.unwrap();
        SqliteStore::back_up(&path, &copy).unwrap();
        store.add_account("arthur", "hash", &cli()).await.unwrap();

        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&folder), ["copy", "store", "store-shm", "store-wal"]);
        let copied = SqliteStore::open(&copy).unwrap();
        assert!(copied.password_hash("marvin").await.unwrap().is_some());
        drop((store, copied));
        let count =
            async |path: &Path| SqliteStore::open(path).unwrap().accounts().await.unwrap().len();
        SqliteStore::restore(&copy, &path).unwrap();
        assert_eq!(count(&path).await, 1);
        assert_eq!(count(&folder.path().join("store.replaced")).await, 2);

        // A file that is not a store is rejected, and the store stays.
        fs::write(&copy, "not a store").unwrap();
        assert!(SqliteStore::restore(&copy, &path).is_err());
        let foreign = folder.path().join("foreign");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let error = SqliteStore::restore(&foreign, &path).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        assert_eq!(count(&path).await, 1);
        assert_eq!(names(&folder), ["copy", "foreign", "store", "store.replaced"]);
    }

    #[tokio::test]
    async fn a_backup_during_writes_is_consistent() {
        let (_folder, path, store) = new_store();
        let copying = tokio::task::spawn_blocking(move || {
            let copies = (0..5).map(|number| path.with_file_name(format!("copy-{number}")));
            copies.inspect(|copy| SqliteStore::back_up(&path, copy).unwrap()).collect::<Vec<_>>()
        });
        let mut number = 0;
        while !copying.is_finished() {
            store.block(&device(&format!("device-{number}")), &cli()).await.unwrap();
            number += 1;
        }
        let mut before = 0;
        for copy in copying.await.unwrap() {
            let copied = SqliteStore::open(&copy).unwrap();
            let states = copied.access_states_after(0).await.unwrap();
            assert!(states.len() >= before && states.len() <= number);
            // Each change has its line in the audit log.
            let stats = copied.audit_page(&Default::default()).await.unwrap();
            assert_eq!(stats.len(), states.len().min(1000));
            before = states.len();
        }
    }

    #[test]
    fn a_failed_backup_overwrites_and_leaves_nothing() {
        let (folder, path, store) = new_store();
        let copy = path.with_file_name("copy");
        drop(store);
        fs::write(&copy, "precious").unwrap();
        let error = SqliteStore::back_up(&path, &copy).unwrap_err().to_string();
        let files = format!("{} to {}", path.display(), copy.display());
        assert_eq!(error, format!("cannot back up the store {files}: entity already exists"));
        assert_eq!(fs::read(&copy).unwrap(), b"precious");

        for bad in [path.with_file_name("missing"), copy] {
            assert!(SqliteStore::back_up(&bad, &path.with_file_name("x")).is_err(), "{bad:?}");
        }
        assert_eq!(names(&folder), ["copy", "store"]);
    }
}
