//! A peer: tokio-websockets, with its defaults.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_websockets::ServerBuilder;

use super::listen::serve_each;
use crate::error::Result;

pub(super) fn start() -> Result<SocketAddr> {
    serve_each(echo)
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
