//! A standard error whose reader has stopped reading: a pipe that can be full, as when the journal hangs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

/// The pipe. It is read only when the test says so.
pub struct UnreadLog {
    reader: File,
    path: PathBuf,
    _folder: TempDir,
}

impl UnreadLog {
    /// An empty pipe.
    #[expect(clippy::new_without_default, reason = "it creates a file")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let nonblocking = OFlag::O_NONBLOCK.bits();
        let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path).unwrap();
        Self { reader, path, _folder: folder }
    }

    /// The standard error of a program.
    pub fn stderr(&self) -> Stdio {
        OpenOptions::new().write(true).open(&self.path).unwrap().into()
    }

    /// Fills the pipe, so that any further write blocks.
    pub fn fill(&self) {
        // A separate open file, since the flag belongs to it and not to the descriptor.
        let nonblocking = OFlag::O_NONBLOCK.bits();
        let mut writer =
            OpenOptions::new().write(true).custom_flags(nonblocking).open(&self.path).unwrap();
        for length in [4096, 1] {
            let chunk = vec![b'\n'; length];
            loop {
                match writer.write(&chunk) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// What is in the pipe now. Reading it makes room.
    pub fn read(&mut self) -> String {
        let mut bytes = vec![0; 1 << 20];
        match self.reader.read(&mut bytes) {
            Ok(count) => String::from_utf8_lossy(&bytes[..count]).into_owned(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => String::new(),
            Err(error) => panic!("{error}"),
        }
    }
}
