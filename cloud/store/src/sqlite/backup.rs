//! Copies of a store, and how one takes its place.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::file::beside;
use super::schema::{self, Found};
use super::store::SqliteStore;
use crate::error::StoreError;

/// How long a copy waits for another process that holds the file.
const PATIENCE: Duration = Duration::from_secs(5);

impl SqliteStore {
    /// Copies the store at `store` to a new file, as it is at one moment, whoever uses it meanwhile.
    /// The copy is readable by its owner only, checked, on disk, and there as a whole or not at all.
    /// A file that exists is not overwritten.
    ///
    /// Waits for the disk: in a server, call it off the runtime.
    pub fn back_up(store: &Path, copy: &Path) -> Result<(), StoreError> {
        let location = format!("{} to {}", store.display(), copy.display());
        let failed = |error| StoreError::failed(&location, "back up", error);
        if fs::symlink_metadata(copy).is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let unfinished = Unfinished::beside(copy).map_err(failed)?;
        copy_store(store, &unfinished.0)?;
        // Not by renaming, which would overwrite a file that has come to be meanwhile.
        fs::hard_link(&unfinished.0, copy).map_err(failed)?;
        drop(unfinished);
        sync_folder(copy).map_err(failed)
    }

    /// Puts a copy that [`SqliteStore::back_up`] made in the place of the store, which stays beside it
    /// with `.replaced` added to its name. A server that runs notices and goes on with the copy. Done
    /// by root, the store belongs to the owner of its folder.
    ///
    /// What was blocked, revoked or added since the copy was made has to be done again. Waits for the
    /// disk.
    pub fn restore(copy: &Path, store: &Path) -> Result<(), StoreError> {
        let location = format!("{} from {}", store.display(), copy.display());
        let failed = |error| StoreError::failed(&location, "restore", error);
        let unfinished = Unfinished::beside(store).map_err(failed)?;
        unfinished.give_to_owner_of_folder().map_err(failed)?;
        copy_store(copy, &unfinished.0)?;
        // So that whoever opens it first needs it for nobody but himself.
        Connection::open(&unfinished.0)
            .and_then(|database| database.pragma_update(None, "journal_mode", "WAL"))
            .map_err(|error| StoreError::failed(&location, "restore", error))?;
        let replaced = beside(store, ".replaced");
        // The log goes first: beside another file it would be taken for that one's.
        for suffix in ["-wal", "-shm", ""] {
            match fs::rename(beside(store, suffix), beside(&replaced, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&unfinished.0, store).map_err(failed)?;
        std::mem::forget(unfinished);
        sync_folder(store).map_err(failed)
    }
}

/// A file that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    /// An empty one in the same folder, for its owner only.
    fn beside(file: &Path) -> io::Result<Self> {
        let name = beside(file, &format!(".{:08x}.new", rand::random::<u32>()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name)?;
        Ok(Self(name))
    }

    /// If we may: root restores what the server's own user has to read.
    fn give_to_owner_of_folder(&self) -> io::Result<()> {
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::metadata(folder.unwrap_or(Path::new(".")))?;
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(&self.0, Some(folder.uid()), Some(folder.gid()))?;
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // If it stays it is no harm, and there is nobody to tell.
        let _ = fs::remove_file(&self.0);
    }
}

/// Copies a store of ours into an empty file, and checks and syncs that.
fn copy_store(from: &Path, to: &Path) -> Result<(), StoreError> {
    let location = from.display().to_string();
    let reading = |error: rusqlite::Error| StoreError::failed(&location, "copy", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(from, flags).map_err(reading)?;
    database.busy_timeout(PATIENCE).map_err(reading)?;
    check_version(&database, &location)?;
    let target = to.to_str().ok_or_else(|| {
        StoreError::failed(&to.display().to_string(), "copy to", "its path is no text in UTF-8")
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
        schema::look(database).map_err(|error| StoreError::failed(location, "read", error))?;
    let (location, known) = (location.to_owned(), schema::latest());
    match found {
        Found::Foreign | Found::Version(0) => Err(StoreError::Foreign { location }),
        Found::Version(found) if found > known => Err(StoreError::Newer { location, found, known }),
        Found::Version(_) => Ok(()),
    }
}

/// A new name is on disk when its folder is.
fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use fedecks_protocol::DeviceId;

    use super::*;
    use crate::accounts::AccountStore;
    use crate::audit::Actor;
    use crate::audit::AuditStore;
    use crate::devices::DeviceStore;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_copy_of_a_store_in_use_has_everything_that_was_answered() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store"), folder.path().join("copy"));
        let store = SqliteStore::open(&path).unwrap();
        store.add_account("marvin", "hash", &Actor::cli()).await.unwrap();
        SqliteStore::back_up(&path, &copy).unwrap();
        store.remove_account("marvin", &Actor::cli()).await.unwrap();

        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["copy", "store", "store-shm", "store-wal"]);
        let copied = SqliteStore::open(&copy).unwrap();
        assert!(copied.password_hash("marvin").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_copy_made_while_others_write_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = SqliteStore::open(&path).unwrap();
        let copying = tokio::task::spawn_blocking({
            let (folder, path) = (folder.path().to_owned(), path.clone());
            move || {
                let copies = (0..5).map(|number| folder.join(format!("copy-{number}")));
                copies
                    .inspect(|copy| SqliteStore::back_up(&path, copy).unwrap())
                    .collect::<Vec<_>>()
            }
        });
        let mut number = 0;
        while !copying.is_finished() {
            let device = DeviceId::new(format!("device-{number}")).unwrap();
            store.block(&device, &Actor::cli()).await.unwrap();
            number += 1;
        }
        let mut before = 0;
        for copy in copying.await.unwrap() {
            let copied = SqliteStore::open(&copy).unwrap();
            let standings = copied.standings_after(0).await.unwrap();
            assert!(standings.len() >= before && standings.len() <= number);
            // Each change has its line in the log.
            let stats = copied.audit_page(&Default::default()).await.unwrap();
            assert_eq!(stats.len(), standings.len().min(1000));
            before = standings.len();
        }
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store"), folder.path().join("copy"));
        drop(SqliteStore::open(&path).unwrap());
        fs::write(&copy, "precious").unwrap();
        let error = SqliteStore::back_up(&path, &copy).unwrap_err().to_string();
        let (from, to) = (path.display(), copy.display());
        assert_eq!(
            error,
            format!("cannot back up the store {from} to {to}: entity already exists")
        );
        assert_eq!(fs::read(&copy).unwrap(), b"precious");

        let missing =
            SqliteStore::back_up(&folder.path().join("missing"), &folder.path().join("x"));
        assert!(missing.is_err());
        let garbage = SqliteStore::back_up(&copy, &folder.path().join("x"));
        assert!(garbage.is_err());
        assert_eq!(names(folder.path()), ["copy", "store"]);
    }

    #[tokio::test]
    async fn a_copy_that_is_restored_takes_the_place_of_the_store_which_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store"), folder.path().join("copy"));
        {
            let store = SqliteStore::open(&path).unwrap();
            store.add_account("marvin", "hash", &Actor::cli()).await.unwrap();
            SqliteStore::back_up(&path, &copy).unwrap();
            store.add_account("arthur", "hash", &Actor::cli()).await.unwrap();
        }
        let count =
            async |path: &Path| SqliteStore::open(path).unwrap().accounts().await.unwrap().len();
        SqliteStore::restore(&copy, &path).unwrap();
        assert_eq!(count(&path).await, 1);
        assert_eq!(count(&folder.path().join("store.replaced")).await, 2);

        // What is no store is refused, and the store stays as it is.
        fs::write(&copy, "no store").unwrap();
        assert!(SqliteStore::restore(&copy, &path).is_err());
        let foreign = folder.path().join("foreign");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let error = SqliteStore::restore(&foreign, &path).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        assert_eq!(count(&path).await, 1);
        assert_eq!(names(folder.path()), ["copy", "foreign", "store", "store.replaced"]);
    }
}
