//! Opens a listening socket with all the options that its connections inherit.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are of other crates, and a new variant needs no decision here"
)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

/// How many connections may wait in the kernel's queue; `net.core.somaxconn` bounds it too.
const BACKLOG: i32 = 4096;

/// When the kernel probes a silent client, and how often before it gives up.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// How much the kernel takes that it cannot send yet, in bytes. The rest waits where it is counted, and where something
/// urgent can still overtake it.
const NOT_SENT: u32 = 16 * 1024;

/// Listens on `address` and returns the address that it got.
///
/// On Linux, accepted sockets inherit the listener's options, so each connection gets TCP_NODELAY,
/// keepalive and TCP_USER_TIMEOUT without further system calls. TCP_USER_TIMEOUT ends a connection whose
/// client has acknowledged nothing for `stalled`, even if that client is reachable but reads nothing.
pub(crate) fn listen(
    address: SocketAddr,
    stalled: Duration,
) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = open(address, stalled)?;
    let listener = TcpListener::from_std(socket.into())?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// The socket of [`listen`], without a runtime.
pub(crate) fn open(address: SocketAddr, stalled: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Otherwise a restarted server has to wait until the kernel forgets the old connections.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `[::]` takes IPv4 as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_tcp_user_timeout(Some(stalled))?;
    socket.set_tcp_notsent_lowat(NOT_SENT)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// What to do about an error of [`listen`]; follows its text.
pub(crate) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program, or another listener, has the port",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has the address",
        io::ErrorKind::PermissionDenied => {
            "; for ports below 1024 the capability CAP_NET_BIND_SERVICE is needed, which the unit of the package \
             has"
        }
        _ if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
            "; IPv6 is disabled on this machine"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn accepted_sockets_inherit_nodelay_and_keepalive() {
        let (listener, address) =
            listen("127.0.0.1:0".parse().unwrap(), Duration::from_secs(7)).unwrap();
        assert_ne!(address.port(), 0);
        let _client = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), NOT_SENT);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(15));
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
    }
}
