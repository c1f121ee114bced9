//! Writes to standard error, from its own thread. Nothing else waits for the reader.

use std::io::{self, stderr};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use std::os::fd::AsFd;

/// Writes all of it, however long that takes. Past the standard library's handle, whose lock a blocked write
/// would keep from every other thread.
pub(super) fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    let stderr = stderr();
    while !bytes.is_empty() {
        match write(&stderr, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            // Another program that shares it may have made it nonblocking.
            Err(Errno::EAGAIN) => {
                let mut writable = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut writable, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
