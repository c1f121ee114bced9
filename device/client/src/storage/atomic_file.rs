//! Small files that survive power cuts: the only way in which the device writes to disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fedecks_common::give_to_owner_of_dir;
use nix::libc;

use super::data_dir::DataDir;
use super::sealed_text::{seal, unseal};
use super::store_error::StoreError;

/// Maximum size of a file, in bytes.
const MAX_SIZE: usize = 16 * 1024;

/// A small text file of which the newest or the previous copy is intact after a power cut at any time.
/// Every call blocks on the disk.
///
/// The text is stored with its kind and a checksum. It is first written to `NAME.new`, which is complete
/// and on disk before anything else changes; then the current copy is renamed to `NAME.previous` and the
/// new one to `NAME`. Renames are atomic, so one of the two is intact at any time.
///
/// In a [`DataDir`] with a lock every call takes that first, as the directory may be on a partition that is mounted
/// late, and fails with [`StoreError::InUse`] if another process has it.
#[derive(Debug, Clone)]
pub struct AtomicFile {
    directory: DataDir,
    name: &'static str,
}

impl AtomicFile {
    /// The file `name` in `directory`; `name` is also its kind.
    pub fn new(directory: impl Into<DataDir>, name: &'static str) -> Self {
        Self { directory: directory.into(), name }
    }

    /// Replaces the content with `body`, lines of text. Creates the directory if its parent exists. After
    /// an error, reads still return the previous content.
    pub fn write(&self, body: &str) -> Result<(), StoreError> {
        self.create_directory()?;
        self.directory.check()?;
        let (file, previous, new) = self.paths();
        let written = write_new(&new, &seal(self.name, body));
        written.map_err(|source| self.error("write", &new, source))?;
        // Never overwrite an intact previous copy with a corrupt one.
        if matches!(self.read_copy(&file), Copy::Intact(_)) {
            fs::rename(&file, &previous).map_err(|source| self.error("rename", &file, source))?;
        }
        fs::rename(&new, &file).map_err(|source| self.error("rename", &new, source))?;
        self.sync_directory()
    }

    /// Returns what `parse` returns for the newest intact copy that it accepts. Returns `None` if there
    /// is none, and logs why unless nothing was ever written.
    pub fn read<T>(&self, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        self.directory.check()?;
        let (file, previous, _) = self.paths();
        let mut failure = None;
        for path in [&file, &previous] {
            match self.read_copy(path) {
                Copy::Intact(body) => {
                    if let Some(value) = parse(&body) {
                        if path == &previous {
                            tracing::warn!(file = %path.display(), "using the previous copy");
                        }
                        return Ok(Some(value));
                    }
                    tracing::warn!(file = %path.display(), "ignored a file with unexpected content");
                }
                Copy::Missing => {}
                Copy::Corrupt(reason) => {
                    tracing::warn!(file = %path.display(), reason, "ignored a corrupt file");
                }
                Copy::Unreadable(source) => {
                    tracing::warn!(file = %path.display(), error = %source, "cannot read a file");
                    failure = failure.or(Some(StoreError::Io {
                        action: "read",
                        file: path.clone(),
                        source,
                    }));
                }
            }
        }
        match failure {
            Some(error) => Err(error),
            None => self.check_directory().map(|()| None),
        }
    }

    /// [`AtomicFile::read`], for which there is no file yet in a directory that the first write creates.
    pub(crate) fn read_if_any<T>(
        &self,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        match self.read(parse) {
            Err(StoreError::NoDirectory { .. }) if self.directory.can_be_created() => Ok(None),
            read => read,
        }
    }

    /// Removes the file and all its copies, if there are any.
    pub fn remove(&self) -> Result<(), StoreError> {
        self.check_directory()?;
        self.directory.check()?;
        let (file, previous, new) = self.paths();
        // The newest copy last: an interruption never leaves only older ones.
        for path in [&new, &previous, &file] {
            unlink(path).map_err(|source| self.error("remove", path, source))?;
        }
        self.sync_directory()
    }

    /// [`AtomicFile::remove`], for which nothing is left in a directory that the first write creates.
    pub(crate) fn remove_if_any(&self) -> Result<(), StoreError> {
        match self.remove() {
            Err(StoreError::NoDirectory { .. }) if self.directory.can_be_created() => Ok(()),
            removed => removed,
        }
    }

    /// Fails if another process uses the directory.
    pub(super) fn check_lock(&self) -> Result<(), StoreError> {
        self.directory.check()
    }

    fn paths(&self) -> (PathBuf, PathBuf, PathBuf) {
        let with = |suffix| self.directory.path().join(format!("{}{suffix}", self.name));
        (with(""), with(".previous"), with(".new"))
    }

    fn create_directory(&self) -> Result<(), StoreError> {
        match DirBuilder::new().mode(0o700).create(self.directory.path()) {
            Ok(()) => {
                // A power cut must not lose the new directory with its content. The permission to create
                // it does not imply the permission to open its parent.
                let _ = File::open(self.directory.path().join(".."))
                    .and_then(|parent| parent.sync_all());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Other errors are possible too if it exists, on a read-only disk for example.
            Err(_) if self.directory.path().is_dir() => Ok(()),
            Err(source) => Err(self.error("create", self.directory.path(), source)),
        }
    }

    fn check_directory(&self) -> Result<(), StoreError> {
        let listed = fs::read_dir(self.directory.path());
        listed.map(drop).map_err(|source| self.error("read", self.directory.path(), source))
    }

    fn sync_directory(&self) -> Result<(), StoreError> {
        match File::open(self.directory.path()).and_then(|directory| directory.sync_all()) {
            Ok(()) => Ok(()),
            // Some file systems do not support it, and do not need it.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            Err(source) => Err(self.error("sync", self.directory.path(), source)),
        }
    }

    fn error(&self, action: &'static str, file: &Path, source: io::Error) -> StoreError {
        StoreError::io(self.directory.path(), action, file, source)
    }

    fn read_copy(&self, path: &Path) -> Copy {
        let bytes = match read_bounded(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Copy::Corrupt("not a regular file"),
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::ENOENT) => Copy::Missing,
                    Some(libc::ELOOP) => Copy::Corrupt("a symbolic link"),
                    _ => Copy::Unreadable(error),
                };
            }
        };
        match std::str::from_utf8(&bytes).ok().and_then(|text| unseal(self.name, text)) {
            Some(body) => Copy::Intact(body.to_owned()),
            None => Copy::Corrupt("checksum or kind does not match"),
        }
    }
}

enum Copy {
    Intact(String),
    Missing,
    Corrupt(&'static str),
    Unreadable(io::Error),
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // May be left over from a writer that was killed.
    unlink(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    give_to_owner_of_dir(&file, path);
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // On a full disk the incomplete file only wastes space. The first error is the one to report.
        let _ = unlink(path);
    }
    written
}

/// Returns `None` for anything but a regular file. Opening a named pipe must not block.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // A longer file is truncated and fails its checksum.
    file.take(MAX_SIZE as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::thread;

    use nix::unistd::{Uid, geteuid, mkfifo, setfsuid};
    use tempfile::{TempDir, tempdir};

    use super::*;

    fn fresh() -> (TempDir, AtomicFile) {
        let folder = tempdir().unwrap();
        let file = AtomicFile::new(folder.path(), "thing");
        (folder, file)
    }

    /// A file that was written twice, and its path.
    fn written() -> (TempDir, AtomicFile, PathBuf) {
        let (folder, file) = fresh();
        file.write("a=1\n").unwrap();
        file.write("a=2\n").unwrap();
        let path = folder.path().join("thing");
        (folder, file, path)
    }

    #[test]
    fn what_root_writes_belongs_to_the_directorys_owner() {
        if !geteuid().is_root() {
            return;
        }
        let (folder, file) = fresh();
        std::os::unix::fs::chown(folder.path(), Some(4242), Some(4243)).unwrap();
        file.write("a=1\n").unwrap();
        let owner = fs::metadata(folder.path().join("thing")).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (4242, 4243));
    }

    fn read(file: &AtomicFile) -> Option<String> {
        file.read(|body| Some(body.to_owned())).unwrap()
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_read_back_and_its_previous_copy_is_kept() {
        assert_eq!(read(&fresh().1), None);
        let (folder, file, path) = written();
        assert_eq!(read(&file).unwrap(), "a=2\n");
        assert_eq!(names(&folder), ["thing", "thing.previous"]);
        let previous = fs::read_to_string(path.with_extension("previous")).unwrap();
        assert_eq!(previous, "fedecks thing 1\na=1\ncrc32 5e43aef0\n", "the format is frozen");
        let only_1 = file.read(|body| body.strip_suffix("=1\n").map(str::to_owned)).unwrap();
        assert_eq!(only_1.unwrap(), "a", "the newest that is understood");

        fs::write(&path, "rubbish").unwrap();
        file.write("a=3\n").unwrap();
        assert_eq!(read(&file).unwrap(), "a=3\n");
        fs::remove_file(path).unwrap();
        assert_eq!(read(&file).unwrap(), "a=1\n", "rubbish is not kept");
    }

    #[test]
    fn damage_to_the_newest_copy_or_to_both_is_detected() {
        let (_folder, file, path) = written();
        let previous = path.with_extension("previous");
        let (intact, older) = (fs::read(&path).unwrap(), fs::read(&previous).unwrap());
        let check = |damaged: &[u8], what: &str| {
            fs::write(&path, damaged).unwrap();
            fs::write(&previous, &older).unwrap();
            assert_eq!(read(&file).unwrap(), "a=1\n", "{what}");
            fs::write(&previous, damaged).unwrap();
            assert_eq!(read(&file), None, "{what}");
        };
        for position in 0..intact.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut damaged = intact.clone();
                damaged[position] ^= flip;
                check(&damaged, &format!("byte {position} xor {flip}"));
            }
            check(&intact[..position], &format!("cut at {position}"));
        }
        check(&[intact, b"x".to_vec()].concat(), "longer");
        check(&vec![0; 100 * MAX_SIZE], "zeros");
    }

    #[test]
    fn files_are_accessible_to_their_owner_only() {
        let folder = tempdir().unwrap();
        let data = folder.path().join("data");
        let file = AtomicFile::new(&data, "thing");
        file.write("a=1\n").unwrap();
        assert_eq!(mode(&data), 0o700);
        let new = data.join("thing.new");
        fs::write(&new, "left by a killed writer").unwrap();
        set_mode(&new, 0o666);
        file.write("a=2\n").unwrap();
        for name in ["thing", "thing.previous"] {
            assert_eq!(mode(&data.join(name)), 0o600, "{name}");
        }
        assert!(!new.exists());
    }

    #[test]
    fn removing_deletes_every_copy_and_may_be_repeated() {
        let (folder, file, path) = written();
        fs::write(path.with_extension("new"), "left").unwrap();
        file.remove().unwrap();
        assert_eq!(names(&folder), Vec::<String>::new());
        file.remove().unwrap();
        assert_eq!(read(&file), None);
    }

    #[test]
    fn links_and_pipes_are_replaced_and_never_followed() {
        let (folder, file) = fresh();
        let elsewhere = tempdir().unwrap();
        let other = elsewhere.path().join("other");
        fs::write(&other, seal("thing", "a=1\n")).unwrap();
        let untouched = fs::read(&other).unwrap();
        for name in ["thing", "thing.previous", "thing.new"] {
            symlink(&other, folder.path().join(name)).unwrap();
        }
        assert_eq!(read(&file), None);
        file.write("a=2\n").unwrap();
        assert_eq!(read(&file).unwrap(), "a=2\n");
        assert_eq!(fs::read(&other).unwrap(), untouched);

        fs::remove_file(folder.path().join("thing")).unwrap();
        mkfifo(&folder.path().join("thing"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&file), None);
        file.write("a=3\n").unwrap();
        assert_eq!(read(&file).unwrap(), "a=3\n");
    }

    #[test]
    fn a_missing_directory_has_a_distinct_error() {
        let folder = tempdir().unwrap();
        let file = AtomicFile::new(folder.path().join("data/fedecks"), "thing");
        for result in [file.read(|_| Some(())).map(drop), file.write("a=1\n"), file.remove()] {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::NoDirectory { .. }), "{error}");
            assert!(error.to_string().contains("data/fedecks"), "{error}");
        }
    }

    #[test]
    fn an_unwritable_directory_has_a_distinct_error_and_is_read() {
        let (folder, file) = fresh();
        file.write("a=1\n").unwrap();
        // Readable by everyone, writable by root, as which these tests may run.
        set_mode(folder.path(), 0o555);
        for name in names(&folder) {
            set_mode(&folder.path().join(name), 0o444);
        }
        let shared = file.clone();
        // setfsuid applies to this thread only.
        let unprivileged = thread::spawn(move || {
            setfsuid(Uid::from_raw(65_534));
            (read(&shared), shared.write("a=2\n"), shared.remove())
        });
        let (readable, written, removed) = unprivileged.join().unwrap();
        assert_eq!(readable.unwrap(), "a=1\n");
        let source = io::Error::from_raw_os_error(libc::EROFS);
        let read_only = file.error("write", Path::new("thing.new"), source);
        for error in [written.unwrap_err(), removed.unwrap_err(), read_only] {
            assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
            assert!(error.to_string().contains("cannot be written"), "{error}");
        }
        assert_eq!(read(&file).unwrap(), "a=1\n");
        set_mode(folder.path(), 0o755);
    }
}
