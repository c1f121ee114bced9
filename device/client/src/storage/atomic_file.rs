//! Small files that are whole after a power cut: the one way in which the device writes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

/// The biggest such file, in bytes.
const MAX_SIZE: usize = 16 * 1024;

/// Why something could not be read from the data directory or written to it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory is not there; its partition may be mounted later.
    #[error(
        "the data directory {} does not exist; is its partition mounted?", directory.display()
    )]
    NoDirectory {
        /// Which directory.
        directory: PathBuf,
    },
    /// The directory is there, but nothing can be written into it: it is mounted read-only, or it
    /// belongs to another user.
    #[error("the data directory {} cannot be written: {source}", directory.display())]
    NotWritable {
        /// Which directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that went wrong.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A small file of which, whenever the power is cut, the newest or the previous copy is there and whole.
/// Every call blocks on the disk.
///
/// It is a line with its kind, a few lines of text and a line with their checksum. Writing goes to
/// `NAME.new`, which is complete and on disk before anything else changes; then the copy so far becomes
/// `NAME.previous` and the new one `NAME`. Each step is one rename, so at every moment one of the two is
/// there and whole.
#[derive(Debug, Clone)]
pub struct AtomicFile {
    directory: PathBuf,
    name: &'static str,
}

impl AtomicFile {
    /// The file `name` in `directory`; `name` also is its kind.
    pub fn new(directory: impl Into<PathBuf>, name: &'static str) -> Self {
        Self { directory: directory.into(), name }
    }

    /// Puts `body`, lines of text, in the place of what was there. Makes the directory if only that
    /// is missing. After an error, what was there before is still what is read.
    pub fn write(&self, body: &str) -> Result<(), StoreError> {
        self.make_directory()?;
        let (file, previous, new) = self.paths();
        let written = write_new(&new, &self.seal(body));
        written.map_err(|source| self.refused("write", &new, source))?;
        // What is not whole must not take the place of a previous copy that may be.
        if matches!(self.read_copy(&file), Found::Whole(_)) {
            fs::rename(&file, &previous).map_err(|source| self.refused("rename", &file, source))?;
        }
        fs::rename(&new, &file).map_err(|source| self.refused("rename", &new, source))?;
        self.sync_directory()
    }

    /// What `parse` makes of the newest copy that is whole and that it understands; `None` if there
    /// is none, with a line in the log if that is not because nothing was ever written.
    pub fn read<T>(&self, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        let (file, previous, _) = self.paths();
        let mut failure = None;
        for path in [&file, &previous] {
            match self.read_copy(path) {
                Found::Whole(body) => {
                    if let Some(value) = parse(&body) {
                        if path == &previous {
                            tracing::warn!(file = %path.display(), "using the previous copy");
                        }
                        return Ok(Some(value));
                    }
                    tracing::warn!(file = %path.display(), "not understood, ignored");
                }
                Found::Missing => {}
                Found::Broken(reason) => {
                    tracing::warn!(file = %path.display(), reason, "not whole, ignored");
                }
                Found::Unreadable(source) => {
                    tracing::warn!(file = %path.display(), error = %source, "cannot be read");
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

    /// Removes the file with all that was left beside it. Nothing to remove is fine.
    pub fn remove(&self) -> Result<(), StoreError> {
        self.check_directory()?;
        let (file, previous, new) = self.paths();
        // The newest last: whatever interrupts this leaves nothing older than it.
        for path in [&new, &previous, &file] {
            unlink(path).map_err(|source| self.refused("remove", path, source))?;
        }
        self.sync_directory()
    }

    fn paths(&self) -> (PathBuf, PathBuf, PathBuf) {
        let with = |suffix| self.directory.join(format!("{}{suffix}", self.name));
        (with(""), with(".previous"), with(".new"))
    }

    fn make_directory(&self) -> Result<(), StoreError> {
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Ok(()) => {
                // A power cut must not take the new directory with all that is in it. Whoever may
                // make it there may not always open what it stands in.
                let _ = File::open(self.directory.join("..")).and_then(|above| above.sync_all());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // What cannot be made may be there all the same, on a read-only disk for example.
            Err(_) if self.directory.is_dir() => Ok(()),
            Err(source) => Err(self.refused("make", &self.directory, source)),
        }
    }

    fn check_directory(&self) -> Result<(), StoreError> {
        match fs::read_dir(&self.directory) {
            Ok(_) => Ok(()),
            Err(source) => Err(self.refused("read", &self.directory, source)),
        }
    }

    fn sync_directory(&self) -> Result<(), StoreError> {
        match File::open(&self.directory).and_then(|directory| directory.sync_all()) {
            Ok(()) => Ok(()),
            // There are file systems that cannot do it and need not.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            Err(source) => Err(self.refused("sync", &self.directory, source)),
        }
    }

    fn refused(&self, action: &'static str, file: &Path, source: io::Error) -> StoreError {
        let directory = self.directory.clone();
        match source.raw_os_error() {
            Some(libc::ENOENT) => StoreError::NoDirectory { directory },
            Some(libc::EROFS) => StoreError::NotWritable { directory, source },
            Some(libc::EACCES | libc::EPERM) if action != "read" => {
                StoreError::NotWritable { directory, source }
            }
            _ => StoreError::Io { action, file: file.to_owned(), source },
        }
    }

    fn read_copy(&self, path: &Path) -> Found {
        let bytes = match read_bounded(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Found::Broken("not a regular file"),
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::ENOENT) => Found::Missing,
                    Some(libc::ELOOP) => Found::Broken("a symbolic link"),
                    _ => Found::Unreadable(error),
                };
            }
        };
        match std::str::from_utf8(&bytes).ok().and_then(|text| self.open(text)) {
            Some(body) => Found::Whole(body.to_owned()),
            None => Found::Broken("damaged"),
        }
    }

    fn kind_line(&self) -> String {
        format!("fedecks {} 1\n", self.name)
    }

    fn seal(&self, body: &str) -> String {
        let text = self.kind_line() + body;
        let checksum = checksum_line(&text);
        text + &checksum
    }

    /// The body of a text that [`AtomicFile::seal`] made.
    fn open<'a>(&self, text: &'a str) -> Option<&'a str> {
        let without_end = text.strip_suffix('\n')?;
        let (sealed, checksum) = text.split_at_checked(without_end.rfind('\n')? + 1)?;
        if checksum != checksum_line(sealed) {
            return None;
        }
        sealed.strip_prefix(&self.kind_line())
    }
}

enum Found {
    Whole(String),
    Missing,
    Broken(&'static str),
    Unreadable(io::Error),
}

fn checksum_line(text: &str) -> String {
    format!("crc32 {:08x}\n", crc32(text.as_bytes()))
}

/// The CRC-32 of Ethernet and zlib, bit by bit: the files are small, and the tables of a faster one
/// take 16 KB of an image.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let shifted = |crc: u32, _| crc >> 1 ^ (crc & 1).wrapping_neg() & 0xedb8_8320;
        (0..8).fold(crc ^ u32::from(*byte), shifted)
    })
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // Whoever was killed while writing left it.
    unlink(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // A full disk: what was written only takes more of it. The first error is the one to tell.
        let _ = unlink(path);
    }
    written
}

/// `None` if it is no regular file. A pipe in its place must not make anybody wait.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // Whatever is longer is cut and fails its checksum.
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

    use nix::unistd::{Uid, mkfifo, setfsuid};
    use tempfile::{TempDir, tempdir};

    use super::*;

    fn file_in(folder: &Path) -> AtomicFile {
        AtomicFile::new(folder, "thing")
    }

    fn fresh() -> (TempDir, AtomicFile) {
        let folder = tempdir().unwrap();
        let file = file_in(folder.path());
        (folder, file)
    }

    fn read(file: &AtomicFile) -> Option<String> {
        file.read(|body| Some(body.to_owned())).unwrap()
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_checksum_is_the_one_that_everybody_knows() {
        assert_eq!(crc32(b""), 0);
        // The check value that catalogues of checksums give for it.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_form_of_a_file_is_frozen() {
        let (folder, file) = fresh();
        file.write("a=1\n").unwrap();
        let text = fs::read_to_string(folder.path().join("thing")).unwrap();
        assert_eq!(text, "fedecks thing 1\na=1\ncrc32 5e43aef0\n");
    }

    #[test]
    fn a_file_is_read_back_and_the_one_before_is_kept() {
        let (folder, file) = fresh();
        assert_eq!(read(&file), None);
        file.write("a=1\n").unwrap();
        file.write("a=2\n").unwrap();
        assert_eq!(read(&file).unwrap(), "a=2\n");
        assert_eq!(names(&folder), ["thing", "thing.previous"]);
        fs::remove_file(folder.path().join("thing")).unwrap();
        assert_eq!(read(&file).unwrap(), "a=1\n");
    }

    #[test]
    fn the_previous_copy_is_used_when_the_newest_is_not_understood() {
        let (_folder, file) = fresh();
        file.write("a=1\n").unwrap();
        file.write("b=2\n").unwrap();
        let only_a = file.read(|body| body.strip_prefix("a=").map(str::to_owned)).unwrap();
        assert_eq!(only_a.unwrap(), "1\n");
    }

    #[test]
    fn any_damage_to_a_byte_or_the_length_gives_the_previous_copy() {
        let (folder, file) = fresh();
        file.write("a=1\n").unwrap();
        file.write("a=2\n").unwrap();
        let path = folder.path().join("thing");
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[position] ^= flip;
                fs::write(&path, &damaged).unwrap();
                assert_eq!(read(&file).unwrap(), "a=1\n", "byte {position} xor {flip}");
            }
            fs::write(&path, &whole[..position]).unwrap();
            assert_eq!(read(&file).unwrap(), "a=1\n", "cut at {position}");
        }
        fs::write(&path, [whole, b"x".to_vec()].concat()).unwrap();
        assert_eq!(read(&file).unwrap(), "a=1\n");
    }

    #[test]
    fn damage_in_both_copies_gives_none() {
        let (folder, file) = fresh();
        file.write("a=1\n").unwrap();
        file.write("a=2\n").unwrap();
        for name in ["thing", "thing.previous"] {
            fs::write(folder.path().join(name), vec![0; 100 * MAX_SIZE]).unwrap();
        }
        assert_eq!(read(&file), None);
    }

    #[test]
    fn a_damaged_copy_does_not_take_the_place_of_a_previous_one() {
        let (folder, file) = fresh();
        file.write("a=1\n").unwrap();
        file.write("a=2\n").unwrap();
        fs::write(folder.path().join("thing"), "rubbish").unwrap();
        file.write("a=3\n").unwrap();
        assert_eq!(read(&file).unwrap(), "a=3\n");
        fs::remove_file(folder.path().join("thing")).unwrap();
        assert_eq!(read(&file).unwrap(), "a=1\n");
    }

    #[test]
    fn files_are_for_their_owner_only_whatever_was_left_before() {
        let folder = tempdir().unwrap();
        let data = folder.path().join("data");
        let file = file_in(&data);
        file.write("a=1\n").unwrap();
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
        fs::write(data.join("thing.new"), "left by somebody who was killed").unwrap();
        fs::set_permissions(data.join("thing.new"), fs::Permissions::from_mode(0o666)).unwrap();
        file.write("a=2\n").unwrap();
        for name in ["thing", "thing.previous"] {
            assert_eq!(fs::metadata(data.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        }
        assert!(!data.join("thing.new").exists());
    }

    #[test]
    fn removing_leaves_nothing_and_may_be_repeated() {
        let (folder, file) = fresh();
        file.write("a=1\n").unwrap();
        file.write("a=2\n").unwrap();
        fs::write(folder.path().join("thing.new"), "left").unwrap();
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
        fs::write(&other, file.seal("a=1\n")).unwrap();
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
    fn a_directory_that_is_not_there_is_told_apart() {
        let folder = tempdir().unwrap();
        let file = file_in(&folder.path().join("data/fedecks"));
        for result in [file.read(|_| Some(())).map(drop), file.write("a=1\n"), file.remove()] {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::NoDirectory { .. }), "{error}");
            assert!(error.to_string().contains("data/fedecks"), "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_told_apart_and_still_read() {
        let (folder, file) = fresh();
        file.write("a=1\n").unwrap();
        // Read by everybody, written by root, and root is who these tests may run as.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        for name in names(&folder) {
            let path = folder.path().join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
        }
        let as_nobody = {
            let file = file.clone();
            // For this thread only.
            thread::spawn(move || {
                setfsuid(Uid::from_raw(65_534));
                (read(&file), file.write("a=2\n"), file.remove())
            })
        };
        let (readable, written, removed) = as_nobody.join().unwrap();
        assert_eq!(readable.unwrap(), "a=1\n");
        for error in [written.unwrap_err(), removed.unwrap_err()] {
            assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
            assert!(error.to_string().contains("cannot be written"), "{error}");
        }
        assert_eq!(read(&file).unwrap(), "a=1\n");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_read_only_file_system_counts_as_not_writable() {
        let (_folder, file) = fresh();
        let source = io::Error::from_raw_os_error(libc::EROFS);
        let error = file.refused("write", Path::new("thing.new"), source);
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    }
}
