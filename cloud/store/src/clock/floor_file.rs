//! The clock's floor on disk: one small file that survives power cuts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use nix::libc;
use ring::digest::{SHA256, digest};

/// The file in which the floor of a [`Clock`](super::Clock) is kept. Every call blocks on the disk.
#[derive(Debug, Clone)]
pub struct FloorFile {
    file: PathBuf,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FloorFileError {
    /// It is not what [`FloorFile::write`] wrote.
    #[error("{} is damaged: {problem}", file.display())]
    #[non_exhaustive]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        problem: &'static str,
    },
    /// The disk or a permission.
    #[error("cannot {action} {}: {source}", file.display())]
    #[non_exhaustive]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The first line of the file.
const KIND: &str = "fedecks-cloud clock floor 1";

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 256;

impl FloorFile {
    /// The file `clock` in a data directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self { file: directory.join("clock") }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The stored time in seconds since 1970; `None` if there is no file.
    pub fn read(&self) -> Result<Option<u64>, FloorFileError> {
        let damaged = |problem| FloorFileError::Damaged { file: self.file.clone(), problem };
        let opened = OpenOptions::new()
            .read(true)
            // A pipe must not block, and a link is not ours.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&self.file);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(damaged("a symbolic link"));
            }
            Err(source) => return Err(self.error("read", source)),
        };
        if !file.metadata().map_err(|source| self.error("read", source))?.is_file() {
            return Err(damaged("not a regular file"));
        }
        let mut text = Vec::new();
        file.take(MAX_SIZE + 1)
            .read_to_end(&mut text)
            .map_err(|source| self.error("read", source))?;
        let text = std::str::from_utf8(&text).map_err(|_| damaged("not text"))?;
        parse(text).map(Some).ok_or_else(|| damaged("its checksum or format does not match"))
    }

    /// Replaces the stored time. The file is complete or as before after a power cut, has mode 0600, and
    /// belongs to the directory's owner, also if root writes it.
    pub fn write(&self, floor: u64) -> Result<(), FloorFileError> {
        let parent = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or_else(|| Path::new("."));
        let new = self.file.with_extension("new");
        let written = write_new(&new, directory, &format(floor))
            .and_then(|()| fs::rename(&new, &self.file))
            .and_then(|()| sync(directory));
        written.map_err(|source| self.error("write", source))
    }

    fn error(&self, action: &'static str, source: io::Error) -> FloorFileError {
        FloorFileError::Io { action, file: self.file.clone(), source }
    }
}

fn format(floor: u64) -> String {
    let body = format!("{KIND}\n{floor}\n");
    let checksum = checksum(&body);
    format!("{body}{checksum}\n")
}

fn parse(text: &str) -> Option<u64> {
    let number = text.strip_prefix(KIND)?.strip_prefix('\n')?.split_once('\n')?.0;
    let floor = number.parse().ok()?;
    (text == format(floor)).then_some(floor)
}

fn checksum(body: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, body.as_bytes()).as_ref())
}

fn write_new(new: &Path, directory: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(new) {
        // Left by a writer that was killed.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(new)?;
    let (owner, ours) = (fs::metadata(directory)?, file.metadata()?);
    if (owner.uid(), owner.gid()) != (ours.uid(), ours.gid()) && nix::unistd::geteuid().is_root() {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync(directory: &Path) -> io::Result<()> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        // Some file systems do not support it, and do not need it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_stored_time_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = FloorFile::in_directory(folder.path());
        assert_eq!(file.read().unwrap(), None);
        fs::write(folder.path().join("clock.new"), "left by a power cut").unwrap();
        for floor in [1_800_000_000, 0, u64::MAX] {
            file.write(floor).unwrap();
            assert_eq!(file.read().unwrap(), Some(floor));
        }
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_without_a_directory_is_in_the_current_one() {
        let place = tempfile::NamedTempFile::new_in(".").unwrap();
        let file = FloorFile { file: place.path().file_name().unwrap().into() };
        file.write(5).unwrap();
        assert_eq!(file.read().unwrap(), Some(5));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = FloorFile::in_directory(folder.path());
        file.write(1_800_000_000).unwrap();
        let good = fs::read_to_string(file.path()).unwrap();
        for (case, content) in [
            ("empty", String::new()),
            ("cut", good[..good.len() - 10].to_owned()),
            ("changed", good.replace("1800000000", "1900000000")),
            ("longer", format!("{good}\n")),
            ("huge", "x".repeat(1 << 20)),
            ("zeros", "\0".repeat(100)),
        ] {
            fs::write(file.path(), content).unwrap();
            let error = file.read().unwrap_err().to_string();
            assert!(error.contains("/clock is damaged"), "{case}: {error}");
        }
        file.write(5).unwrap();
        assert_eq!(file.read().unwrap(), Some(5));
    }

    #[test]
    fn links_and_pipes_are_not_followed_but_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let file = FloorFile::in_directory(folder.path());
        file.write(7).unwrap();
        fs::rename(file.path(), &target).unwrap();
        symlink(&target, file.path()).unwrap();
        symlink(&target, folder.path().join("clock.new")).unwrap();
        assert!(file.read().unwrap_err().to_string().contains("a symbolic link"));
        file.write(9).unwrap();
        assert_eq!(file.read().unwrap(), Some(9));
        assert_eq!(parse(&fs::read_to_string(&target).unwrap()), Some(7));

        fs::remove_file(file.path()).unwrap();
        nix::unistd::mkfifo(file.path(), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(file.read().unwrap_err().to_string().contains("not a regular file"));
        file.write(11).unwrap();
        assert_eq!(file.read().unwrap(), Some(11));
    }
}
