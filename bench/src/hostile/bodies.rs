//! Request bodies by an API token for one device: many that do not end, and some that become many times
//! as big once they are parsed.

use std::time::Duration;

use fedecks_testing::raw_device::RawDevice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::server::{DEVICE, Victim};
use crate::error::Result;

/// How many requests are held open.
const REQUESTS: usize = 150;

/// How long each body is said to be, in bytes.
const BODY: usize = 8 * 1024 * 1024;

/// How many bodies of nested lists are sent at a time.
const NESTED: usize = 8;

/// The pause before a request is made again.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends 150 bodies of 8 MiB, each without its last byte.
pub(super) async fn held_open(victim: Victim) -> Result<()> {
    let mut requests = JoinSet::new();
    for _ in 0..REQUESTS {
        let victim = victim.clone();
        requests.spawn(async move {
            loop {
                // Whatever the server does with the request, the attacker comes again.
                let _ = send_unfinished(&victim).await;
                sleep(PAUSE).await;
            }
        });
    }
    requests.join_all().await;
    Ok(())
}

async fn send_unfinished(victim: &Victim) -> Result<()> {
    let mut connection = TcpStream::connect(victim.address).await?;
    let head = head(victim, BODY);
    connection.write_all(head.as_bytes()).await?;
    let chunk = vec![b'['; 64 * 1024];
    let mut left = BODY - 1;
    while left > 0 {
        let now = left.min(chunk.len());
        connection.write_all(&chunk[..now]).await?;
        left -= now;
    }
    // Until the server gives up.
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    Ok(())
}

/// Sends lists of empty lists, eight at a time, of the biggest size that a body may have.
pub(super) async fn nested(victim: Victim) -> Result<()> {
    // The device is connected: the messages would reach it.
    let _device = RawDevice::connect(victim.address, DEVICE).await;
    let lists = (BODY - 64 * 1024) / "[],".len();
    let body = format!("[{}[]]", "[],".repeat(lists - 1));
    let mut requests = JoinSet::new();
    for _ in 0..NESTED {
        let (victim, body) = (victim.clone(), body.clone());
        requests.spawn(async move {
            loop {
                let _ = send_whole(&victim, &body).await;
                sleep(PAUSE).await;
            }
        });
    }
    requests.join_all().await;
    Ok(())
}

async fn send_whole(victim: &Victim, body: &str) -> Result<()> {
    let mut connection = TcpStream::connect(victim.address).await?;
    connection.write_all(head(victim, body.len()).as_bytes()).await?;
    let (mut read, mut write) = connection.split();
    let mut answer = vec![0; 4096];
    tokio::select! {
        written = write.write_all(body.as_bytes()) => written?,
        read = read.read(&mut answer) => return read.map(drop).map_err(Into::into),
    }
    read.read(&mut answer).await.map(drop).map_err(Into::into)
}

fn head(victim: &Victim, length: usize) -> String {
    format!(
        "POST /api/v1/devices/{DEVICE}/messages HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        victim.token()
    )
}
