//! What all peers do before their first byte: listen as our own server does, with a task for each connection.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::error::Result;

/// Serves each connection to a free port in its own task. Returns the address.
pub(super) fn serve_each<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Result<SocketAddr>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let listener = listen()?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        // On any error here the clients fail, and so does the run.
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

/// Listens on a free port of the loopback interface.
fn listen() -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Accepted sockets inherit it; our server sets it too.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into())?)
}
