//! The response to plain HTTP connections above the limit, as far as that costs little.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How many connections are answered at a time. Others are closed without a response.
const PLACES: usize = 64;

/// How long a client may take for its request and the response.
const TIME: Duration = Duration::from_secs(1);

/// How much of a request is read at most, in bytes.
const MOST: u64 = 64 * 1024;

const RESPONSE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 33\r\n\
    retry-after: 10\r\n\
    connection: close\r\n\
    \r\n\
    the connection limit is reached\r\n";

/// Answers connections that did not get a permit.
#[derive(Debug, Clone)]
pub(crate) struct Refusals(Arc<Semaphore>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }
}

impl Refusals {
    /// Answers whatever the client requests with 503, or closes the connection if too many are being answered.
    pub(crate) fn answer(&self, tcp: TcpStream) {
        if let Ok(place) = self.0.clone().try_acquire_owned() {
            tokio::spawn(async move {
                let _ = tokio::time::timeout(TIME, respond(tcp)).await;
                drop(place);
            });
        }
    }
}

/// Reads before it writes, and until the client closes: a client that gets a response before it has sent a
/// request, or a reset after it, may not see the response.
async fn respond(mut tcp: TcpStream) -> std::io::Result<()> {
    let mut bytes = [0; 1024];
    if tcp.read(&mut bytes).await? == 0 {
        return Ok(());
    }
    tcp.write_all(RESPONSE).await?;
    tcp.shutdown().await?;
    let mut rest = tcp.take(MOST);
    while rest.read(&mut bytes).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_has_the_length_that_it_declares() {
        let text = std::str::from_utf8(RESPONSE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
    }
}
