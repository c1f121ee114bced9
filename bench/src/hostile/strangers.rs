//! Strangers without an account who write into the log as fast as they can.

use fedecks_protocol::{AUTH_HEADER, DEFAULT_PATH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::server::Victim;
use crate::error::Result;

/// Connections that they use.
const CONNECTIONS: usize = 4;

/// Requests that are sent before the answers are read.
const PIPELINED: usize = 64;

/// Asks for the device socket with a header that the server has to refuse, over and over.
pub(super) async fn refused(victim: Victim) -> Result<()> {
    let request = format!(
        "GET {DEFAULT_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: fedecks.v1.bincode\r\n{AUTH_HEADER}: !\r\n\r\n"
    );
    let requests = request.repeat(PIPELINED);
    let mut strangers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (victim, requests) = (victim.clone(), requests.clone());
        strangers.spawn(async move {
            loop {
                let _ = ask(&victim, &requests).await;
            }
        });
    }
    strangers.join_all().await;
    Ok(())
}

async fn ask(victim: &Victim, requests: &str) -> Result<()> {
    let mut connection = TcpStream::connect(victim.address).await?;
    let mut answers = vec![0; 64 * 1024];
    loop {
        connection.write_all(requests.as_bytes()).await?;
        if connection.read(&mut answers).await? == 0 {
            return Ok(());
        }
    }
}
