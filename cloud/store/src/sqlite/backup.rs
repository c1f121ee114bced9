//! Backups of a store: makes them and restores them. A backup is a store file like any other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::new_file::{self, Unfinished, with_suffix};
use super::retired;
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
        new_file::create(copy, "back up", &location, |unfinished| {
            copy_store(store, &store.display().to_string(), unfinished)
        })
    }

    /// [`SqliteStore::back_up`], with `write` instead of the copying: for a copy that another process makes.
    /// It gets the name of an empty file.
    pub fn back_up_with(
        store: &Path,
        copy: &Path,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let location = format!("{} to {}", store.display(), copy.display());
        new_file::create(copy, "back up", &location, |unfinished| {
            write(unfinished).map_err(|error| StoreError::failed(&location, "back up", error))
        })
    }

    /// Writes what [`SqliteStore::back_up`] copies. It is first copied to a file next to the store.
    pub fn back_up_to(store: &Path, output: &mut dyn Write) -> Result<(), StoreError> {
        let location = store.display().to_string();
        let failed = |error| StoreError::failed(&location, "back up", error);
        let copy = Unfinished::next_to(store).map_err(failed)?;
        copy_store(store, &location, copy.path())?;
        let mut copied = File::open(copy.path()).map_err(failed)?;
        drop(copy);
        io::copy(&mut copied, output).and_then(|_| output.flush()).map_err(failed)
    }

    /// Replaces the store with a copy that [`SqliteStore::back_up`] made. The replaced store is kept with
    /// `.replaced` added to its name. A running server notices, and uses the copy.
    ///
    /// Whatever was blocked, revoked or added since the copy was made has to be done again. Blocks on the
    /// disk.
    pub fn restore(copy: &Path, store: &Path) -> Result<(), StoreError> {
        restore(copy, &copy.display().to_string(), store)
    }

    /// [`SqliteStore::restore`] from an open copy, and from the write-ahead log next to it if there is one:
    /// for a copy that this process may no longer open. It is first copied to a file next to the store.
    /// `name` is the copy's, for errors.
    pub fn restore_from(
        copy: &mut File,
        wal: Option<&mut File>,
        name: &Path,
        store: &Path,
    ) -> Result<(), StoreError> {
        let name = name.display().to_string();
        let failed = |error| StoreError::failed(&name, "copy", error);
        let read = Unfinished::next_to(store).map_err(failed)?;
        let write = |from: &mut File, to: &Path| {
            let mut options = OpenOptions::new();
            let opened = options.write(true).create(true).truncate(true).mode(0o600).open(to);
            opened.and_then(|mut to| io::copy(from, &mut to)).map_err(failed)
        };
        write(copy, read.path())?;
        if let Some(wal) = wal {
            write(wal, &with_suffix(read.path(), "-wal"))?;
        }
        restore(read.path(), &name, store)
    }
}

fn restore(copy: &Path, name: &str, store: &Path) -> Result<(), StoreError> {
    let location = format!("{} from {name}", store.display());
    let failed = |error| StoreError::failed(&location, "restore", error);
    let unfinished = Unfinished::next_to(store).map_err(failed)?;
    copy_store(copy, name, unfinished.path())?;
    Connection::open(unfinished.path())
        .and_then(|database| {
            may_have_been_sent(&database)?;
            // The journal mode is part of the file; changing it later needs an exclusive lock.
            database.pragma_update(None, "journal_mode", "WAL")
        })
        .map_err(|error| StoreError::failed(&location, "restore", error))?;
    let replaced = with_suffix(store, ".replaced");
    // The write-ahead log goes first: SQLite would apply it to the new file.
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(with_suffix(store, suffix), with_suffix(&replaced, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    unfinished.replace(store).map_err(failed)
}

/// Marks what waits for devices in a copy: some of it may have arrived since the copy was made, at a device that has forgotten
/// that by now.
fn may_have_been_sent(database: &Connection) -> rusqlite::Result<()> {
    // A copy made by an older version may have no such messages.
    let can_be_marked =
        "SELECT count(*) > 0 FROM pragma_table_info('down_messages') WHERE name = 'redelivered'";
    if database.query_row(can_be_marked, [], |row| row.get(0))? {
        database
            .execute("UPDATE down_messages SET redelivered = 1 WHERE sequence IS NOT NULL", [])?;
    }
    Ok(())
}

/// Copies a store to an empty file, then checks and syncs the copy.
/// `name` is that of the store, for errors.
fn copy_store(from: &Path, name: &str, to: &Path) -> Result<(), StoreError> {
    let reading = |error: rusqlite::Error| StoreError::failed(name, "copy", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(from, flags).map_err(reading)?;
    database.busy_timeout(LOCK_TIMEOUT).map_err(reading)?;
    check_version(&database, name)?;
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
        Found::Retired(_) => Err(retired::error(database, &location)),
        Found::Version(_) => Ok(()),
    }
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
        let exists = "a file of this name already exists: choose another name, or remove it";
        assert_eq!(error, format!("cannot back up the store {files}: {exists}"));
        assert_eq!(fs::read(&copy).unwrap(), b"precious");

        for bad in [path.with_file_name("missing"), copy] {
            assert!(SqliteStore::back_up(&bad, &path.with_file_name("x")).is_err(), "{bad:?}");
        }
        assert_eq!(names(&folder), ["copy", "store"]);
    }
}
