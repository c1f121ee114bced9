//! A peer: tokio-websockets, with its defaults.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_websockets::ServerBuilder;

use super::listen::listen;
use crate::error::Result;

pub(super) fn start() -> Result<SocketAddr> {
    let listener = listen()?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(listener));
    Ok(address)
}

async fn accept(listener: TcpListener) {
    // On any error here the clients fail, and so does the run.
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(echo(stream));
    }
}

async fn echo(stream: TcpStream) {
    // Boxed, as a task keeps the size of the most that it ever holds at once.
    let upgrade = Box::pin(async move { ServerBuilder::new().accept(stream).await });
    let Ok((_, mut socket)) = upgrade.await else { return };
    // It answers pings and closes by itself.
    while let Some(Ok(message)) = socket.next().await {
        if message.is_binary() && socket.send(message).await.is_err() {
            return;
        }
    }
}
