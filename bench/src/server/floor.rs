//! The floor: as much of RFC 6455 as the clients here use, and not a byte of buffer while nothing arrives.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::listen::serve_each;
use crate::error::Result;

/// What is read at once, on the stack. The frames of the clients are smaller.
const READ: usize = 2048;

/// The largest head of a request.
const HEAD: usize = 4096;

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

pub(super) fn start() -> Result<SocketAddr> {
    serve_each(serve)
}

/// Only what it waits with stays in the task: the stream, and the beginning of a frame, if there is one.
async fn serve(mut stream: TcpStream) {
    if Box::pin(upgrade(&mut stream)).await.is_err() {
        return;
    }
    let mut begun = Vec::new();
    while stream.readable().await.is_ok() {
        match answer(&stream, &mut begun) {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

async fn upgrade(stream: &mut TcpStream) -> Result<()> {
    let mut head = Vec::with_capacity(HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD || stream.read_buf(&mut head).await? == 0 {
            return Err("no request".into());
        }
    }
    let head = std::str::from_utf8(&head)?;
    let key = head.lines().filter_map(|line| line.split_once(": "));
    let key = key.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let (_, key) = key.ok_or("no key")?;
    let accept = derive_accept_key(key.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(stream.write_all(response.as_bytes()).await?)
}

/// Reads what is there, and answers it. Returns whether there may be more.
fn answer(stream: &TcpStream, begun: &mut Vec<u8>) -> Result<bool> {
    let mut read = [0; READ];
    let length = match stream.try_read(&mut read) {
        Ok(0) => return Ok(false),
        Ok(length) => length,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    begun.extend_from_slice(read.get(..length).unwrap_or_default());
    let mut rest = begun.as_slice();
    let mut open = true;
    while let Some((frame, after)) = frame(rest)? {
        rest = after;
        open &= write(stream, &frame)?;
    }
    *begun = rest.to_vec();
    Ok(open)
}

/// A frame from a client, unmasked.
struct Frame {
    /// Its first byte: that it is the last fragment, and the opcode.
    kind: u8,
    payload: Vec<u8>,
}

/// The first frame, if it is complete, and what follows.
fn frame(bytes: &[u8]) -> Result<Option<(Frame, &[u8])>> {
    let (kind, length, rest) = match *bytes {
        [kind, length, ref rest @ ..] if length < 0xfe => (kind, usize::from(length & 0x7f), rest),
        [kind, 0xfe, high, low, ref rest @ ..] => {
            (kind, usize::from(u16::from_be_bytes([high, low])), rest)
        }
        [_, 0xff, ..] => return Err("a frame of more than 64 KiB".into()),
        _ => return Ok(None),
    };
    let Some((mask, rest)) = rest.split_at_checked(4) else { return Ok(None) };
    let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Ok(Some((Frame { kind, payload: payload.collect() }, rest)))
}

/// Writes the answer to a frame. Returns false after a close.
fn write(stream: &TcpStream, frame: &Frame) -> Result<bool> {
    let kind = match frame.kind {
        BINARY => BINARY,
        PING => PONG,
        CLOSE => CLOSE,
        other => return Err(format!("a frame of kind {other:#x}").into()),
    };
    let mut answer = match u8::try_from(frame.payload.len()) {
        Ok(length @ ..=125) => vec![kind, length],
        _ => {
            let [high, low] = u16::try_from(frame.payload.len())?.to_be_bytes();
            vec![kind, 126, high, low]
        }
    };
    answer.extend_from_slice(&frame.payload);
    // The clients wait for each answer, so there is always room for it.
    if stream.try_write(&answer)? != answer.len() {
        return Err("no room for an answer".into());
    }
    Ok(kind != CLOSE)
}
