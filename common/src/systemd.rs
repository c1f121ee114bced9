//! Notifications to systemd that never wait until it reads them. `sd_notify` sends them with a blocking socket, and
//! the kernel queues only a few (`net.unix.max_dgram_qlen`).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a message of the protocol of sd_notify(3). Does nothing if the process was not started by systemd. While
/// systemd's queue is full, the error is [`io::ErrorKind::WouldBlock`].
pub fn notify(message: &str) -> io::Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    send(&socket, message)
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.connect_addr(&address)?;
    from.send(message.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(socket: &OsStr) -> io::Error {
        loop {
            if let Err(error) = send(socket, "STATUS=unread\n") {
                return error;
            }
        }
    }

    #[test]
    fn a_notification_arrives_and_a_full_queue_is_an_error() {
        let path = std::env::temp_dir().join(format!("fedecks-notify-{}", std::process::id()));
        let abstract_name = format!("@{}", path.display());
        let abstract_address = SocketAddr::from_abstract_name(&abstract_name[1..]).unwrap();
        for (socket, systemd) in [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (abstract_name.into(), UnixDatagram::bind_addr(&abstract_address).unwrap()),
        ] {
            send(&socket, "READY=1\n").unwrap();
            let mut message = [0; 64];
            let length = systemd.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"READY=1\n");
            assert_eq!(fill(&socket).kind(), io::ErrorKind::WouldBlock);
        }
        std::fs::remove_file(path).unwrap();
    }
}
