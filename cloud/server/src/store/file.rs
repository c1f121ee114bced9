//! The store in a file: creates and opens it, backs it up and restores it, and creates the directory that it is in. As root, the copies are root's, and everything else is done as the owner of the store's directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fedecks_common::explain_open_error;
use fedecks_store::{SqliteStore, StoreError};
use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::unistd::{AccessFlags, access};

use super::directory::create_data_dir;
use super::open::OpenStore;
use crate::config::Config;
use crate::error::ServerError;
use crate::owner::Owner;

/// The argument that stands for standard output.
pub(crate) const STANDARD_OUTPUT: &str = "-";

/// Opens it for a server, and waits a few seconds for another server to end. Creates it only if the server also
/// generates its secrets.
pub(super) fn open_for_server(config: &Config, store: &Path) -> Result<OpenStore, ServerError> {
    if config.secrets.will_be_generated() && make_if_missing(config, store)? {
        tracing::info!(store = %store.display(), "made a new store, for new secrets");
    }
    let opened = SqliteStore::open_existing(store, config.store_options);
    opened.map(|store| OpenStore::File(Box::new(store))).map_err(|error| match error {
        StoreError::Missing { .. } | StoreError::Empty { .. } => ServerError::NoStore(error),
        StoreError::InUse { .. } => ServerError::StoreInUse(error),
        error => ServerError::Store(error),
    })
}

/// Fails as [`open_for_server`] would without a store.
pub(super) fn check(config: &Config, store: &Path) -> Result<(), ServerError> {
    let location = store.display().to_string();
    match store.metadata() {
        Ok(found) if found.is_file() && found.len() == 0 => {
            Err(ServerError::NoStore(StoreError::Empty { location }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to nothing is not replaced by a store.
            if config.secrets.will_be_generated() && store.symlink_metadata().is_err() {
                return Ok(());
            }
            Err(ServerError::NoStore(StoreError::Missing { location }))
        }
        // Anything else is reported when it is opened.
        _ => Ok(()),
    }
}

/// Whether this user may write the store, its SQLite files, and the directories that the server writes to, and create
/// those that it creates. `serve` finds out by writing.
pub(super) fn check_access(config: &Config, store: &Path) -> Result<(), ServerError> {
    let directory = parent_of(store);
    for suffix in ["", "-wal", "-shm"] {
        let mut file = store.as_os_str().to_owned();
        file.push(suffix);
        let file = PathBuf::from(file);
        match access(&file, AccessFlags::R_OK | AccessFlags::W_OK) {
            Ok(()) if file.is_dir() => return Err(cannot_write(&file, &Errno::EISDIR.into())),
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(cannot_write(&file, &error.into())),
        }
    }
    if store.exists() {
        SqliteStore::check_not_retired(store)?;
        check_writable(directory)?;
    } else if directory != config.data_dir {
        // Only the data directory is made.
        let failed = ServerError::io(format!("create the store {}", store.display()));
        directory.metadata().map_err(failed)?;
        check_writable(directory)?;
        SqliteStore::check_new(store)?;
    } else if directory.exists() {
        SqliteStore::check_new(store)?;
    }
    check_can_be_made(&config.data_dir)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

fn check_writable(directory: &Path) -> Result<(), ServerError> {
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    access(directory, flags).map_err(|error| cannot_write(directory, &error.into()))
}

/// Whether this user may write the directory, or make it together with those that it is in.
pub(super) fn check_can_be_made(directory: &Path) -> Result<(), ServerError> {
    if directory.is_dir() {
        return check_writable(directory);
    }
    let failed = |error| ServerError::io(format!("create {}", directory.display()))(error);
    if directory.symlink_metadata().is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let is_there = |place: &&Path| place.symlink_metadata().is_ok();
    let nearest = directory.ancestors().skip(1).filter(|place| *place != Path::new(""));
    let nearest = nearest.chain([Path::new(".")]).find(is_there).unwrap_or(Path::new("."));
    if !nearest.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    access(nearest, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| {
        let problem = explain_open_error(&error.into(), nearest, "write");
        failed(io::Error::new(io::Error::from(error).kind(), problem))
    })
}

fn cannot_write(place: &Path, error: &io::Error) -> ServerError {
    let problem = explain_open_error(error, place, "write");
    ServerError::io(format!("write {}", place.display()))(io::Error::new(error.kind(), problem))
}

/// Opens the store for a command, also while a server uses it.
pub(super) fn open(config: &Config, store: &Path) -> Result<OpenStore, ServerError> {
    let opened = SqliteStore::open_beside(store, config.store_options);
    opened.map(|store| OpenStore::File(Box::new(store))).map_err(|error| match error {
        StoreError::Missing { .. } | StoreError::Empty { .. } => ServerError::NoStore(error),
        error => ServerError::Store(error),
    })
}

/// Creates an empty store. Fails if there is one.
pub(super) fn create(config: &Config, store: &Path) -> Result<(), ServerError> {
    create_store_dir(config, store)?;
    Ok(SqliteStore::create(store)?)
}

/// Creates an empty store if there is none. Returns whether it did.
pub(super) fn make_if_missing(config: &Config, store: &Path) -> Result<bool, ServerError> {
    if store.symlink_metadata().is_ok() {
        return Ok(false);
    }
    match create(config, store) {
        Ok(()) => Ok(true),
        // By another process, meanwhile.
        Err(ServerError::Store(StoreError::Exists { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Copies the store to a new file.
pub(crate) fn back_up(store: &Path, copy: &Path) -> Result<(), ServerError> {
    let Some(owner) = Owner::of(store)? else { return Ok(SqliteStore::back_up(store, copy)?) };
    if is_of(copy, &owner)? {
        owner.become_it()?;
        return Ok(SqliteStore::back_up(store, copy)?);
    }
    let store = std::path::absolute(store).map_err(ServerError::io("find the store"))?;
    Ok(SqliteStore::back_up_with(&store, copy, |file| back_up_as(&owner, &store, file))?)
}

/// Another process reads the store as its owner, and writes what it read into root's file.
fn back_up_as(owner: &Owner, store: &Path, file: &Path) -> io::Result<()> {
    let status = Command::new("/proc/self/exe")
        .args(["backup", STANDARD_OUTPUT, "--data-dir", "/"])
        .env_clear()
        .env("FEDECKS_STORE", store)
        .gid(owner.gid.as_raw())
        // This also removes root's other groups.
        .uid(owner.uid.as_raw())
        .stdin(Stdio::null())
        .stdout(File::options().write(true).open(file)?)
        .status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("the process that reads it as user {} failed", owner.uid)))
}

/// Writes a copy of the store to standard output.
pub(crate) fn back_up_to_standard_output(store: &Path) -> Result<(), ServerError> {
    Ok(SqliteStore::back_up_to(store, &mut io::stdout().lock())?)
}

/// Replaces the store with a copy.
pub(crate) fn restore(copy: &Path, config: &Config, store: &Path) -> Result<(), ServerError> {
    let Some(owner) = Owner::of(store)? else {
        create_store_dir(config, store)?;
        return Ok(SqliteStore::restore(copy, store)?);
    };
    if is_of(copy, &owner)? {
        owner.become_it()?;
        create_store_dir(config, store)?;
        return Ok(SqliteStore::restore(copy, store)?);
    }
    // The owner may not be able to read the copy.
    let open = |file: &Path| OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(file);
    let reading = || ServerError::io(format!("read {}", copy.display()));
    let mut opened = open(copy).map_err(reading())?;
    if !opened.metadata().map_err(reading())?.is_file() {
        return Err(reading()(io::Error::other("it is not a regular file")));
    }
    let mut wal = copy.as_os_str().to_owned();
    wal.push("-wal");
    let mut wal = match open(Path::new(&wal)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        wal => Some(wal.map_err(reading())?),
    };
    owner.become_it()?;
    create_store_dir(config, store)?;
    Ok(SqliteStore::restore_from(&mut opened, wal.as_mut(), copy, store)?)
}

/// The path leads where the owner wants it to.
fn is_of(path: &Path, owner: &Owner) -> Result<bool, ServerError> {
    Ok(Owner::of(path)?.is_some_and(|other| other.uid == owner.uid))
}

/// Creates the data directory if the store is in it. Any other directory has to exist.
fn create_store_dir(config: &Config, store: &Path) -> Result<(), ServerError> {
    if store.parent() == Some(&config.data_dir) {
        create_data_dir(config)?;
    }
    Ok(())
}
