//! The server's store: creates and opens it, backs it up and restores it, and creates the directory that it
//! is in. As root, the copies are root's, and everything else is done as the owner of the store's directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fedecks_common::explain_open_error;
use fedecks_store::{SqliteStore, Store, StoreError};
use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::unistd::{AccessFlags, access};

use crate::config::Config;
use crate::error::ServerError;
use crate::owner::Owner;

/// The argument that stands for standard output.
pub(crate) const STANDARD_OUTPUT: &str = "-";

/// Opens the store of a server that starts, and waits a few seconds for another server to end. Only a server that also
/// generates its secrets creates the store: others have devices, and an empty store would let in those that are revoked
/// or blocked.
pub(crate) fn open_for_server(config: &Config) -> Result<impl Store + use<>, ServerError> {
    if config.secrets.will_be_generated() && make_if_missing(config)? {
        tracing::info!(store = %config.store.display(), "made a new store, for new secrets");
    }
    SqliteStore::open_existing(&config.store, config.store_options).map_err(|error| match error {
        StoreError::Missing { .. } | StoreError::Empty { .. } => ServerError::NoStore(error),
        StoreError::InUse { .. } => ServerError::StoreInUse(error),
        error => ServerError::Store(error),
    })
}

/// Fails as [`open_for_server`] would without a store.
pub(crate) fn check(config: &Config) -> Result<(), ServerError> {
    let location = config.store.display().to_string();
    match config.store.metadata() {
        Ok(found) if found.is_file() && found.len() == 0 => {
            Err(ServerError::NoStore(StoreError::Empty { location }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to nothing is not replaced by a store.
            if config.secrets.will_be_generated() && config.store.symlink_metadata().is_err() {
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
pub(crate) fn check_access(config: &Config) -> Result<(), ServerError> {
    let directory = parent_of(&config.store);
    for suffix in ["", "-wal", "-shm"] {
        let mut file = config.store.clone().into_os_string();
        file.push(suffix);
        let file = PathBuf::from(file);
        match access(&file, AccessFlags::R_OK | AccessFlags::W_OK) {
            Ok(()) if file.is_dir() => return Err(cannot_write(&file, &Errno::EISDIR.into())),
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(cannot_write(&file, &error.into())),
        }
    }
    if config.store.exists() {
        check_writable(directory)?;
    } else if directory != config.data_dir {
        // Only the data directory is made.
        let failed = ServerError::io(format!("create the store {}", config.store.display()));
        directory.metadata().map_err(failed)?;
        check_writable(directory)?;
        SqliteStore::check_new(&config.store)?;
    } else if directory.exists() {
        SqliteStore::check_new(&config.store)?;
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
fn check_can_be_made(directory: &Path) -> Result<(), ServerError> {
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
pub(crate) fn open_store(config: &Config) -> Result<impl Store + use<>, ServerError> {
    SqliteStore::open_beside(&config.store, config.store_options).map_err(|error| match error {
        StoreError::Missing { .. } | StoreError::Empty { .. } => ServerError::NoStore(error),
        error => ServerError::Store(error),
    })
}

/// Creates an empty store. Fails if there is one.
pub(crate) fn create_store(config: &Config) -> Result<(), ServerError> {
    create_store_dir(config)?;
    Ok(SqliteStore::create(&config.store)?)
}

/// Creates an empty store if there is none. Returns whether it did.
pub(crate) fn make_if_missing(config: &Config) -> Result<bool, ServerError> {
    if config.store.symlink_metadata().is_ok() {
        return Ok(false);
    }
    match create_store(config) {
        Ok(()) => Ok(true),
        // By another process, meanwhile.
        Err(ServerError::Store(StoreError::Exists { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Copies the store to a new file.
pub(crate) fn back_up(config: &Config, copy: &Path) -> Result<(), ServerError> {
    let store = &config.store;
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
pub(crate) fn back_up_to_standard_output(config: &Config) -> Result<(), ServerError> {
    Ok(SqliteStore::back_up_to(&config.store, &mut io::stdout().lock())?)
}

/// Replaces the store with a copy.
pub(crate) fn restore(copy: &Path, config: &Config) -> Result<(), ServerError> {
    let Some(owner) = Owner::of(&config.store)? else {
        create_store_dir(config)?;
        return Ok(SqliteStore::restore(copy, &config.store)?);
    };
    if is_of(copy, &owner)? {
        owner.become_it()?;
        create_store_dir(config)?;
        return Ok(SqliteStore::restore(copy, &config.store)?);
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
    create_store_dir(config)?;
    Ok(SqliteStore::restore_from(&mut opened, wal.as_mut(), copy, &config.store)?)
}

/// The path leads where the owner wants it to.
fn is_of(path: &Path, owner: &Owner) -> Result<bool, ServerError> {
    Ok(Owner::of(path)?.is_some_and(|other| other.uid == owner.uid))
}

/// Creates the data directory if the store is in it. Any other directory has to exist.
fn create_store_dir(config: &Config) -> Result<(), ServerError> {
    if config.store.parent() == Some(&config.data_dir) {
        create_data_dir(config)?;
    }
    Ok(())
}

pub(crate) fn create_data_dir(config: &Config) -> Result<(), ServerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir).map_err(ServerError::io(
        format!("create the data directory {}", config.data_dir.display()),
    ))
}
