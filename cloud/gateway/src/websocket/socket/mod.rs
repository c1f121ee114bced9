//! The server's end of a WebSocket, with buffers only while they are needed.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fedecks_protocol::{CloseCode, CloseReason};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, WebSocketContext,
};

use crate::session::error::SessionError;

/// The server's end of a WebSocket, polled by one task.
///
/// tungstenite speaks the protocol; this puts buffers around it that are only there while they are
/// needed. What is read comes through a buffer of the thread, so that one system call takes up to
/// 16 KiB and an idle connection keeps only tungstenite's small one. What is sent is gathered in one
/// buffer, which is given up when it is empty: tungstenite would keep the room that its biggest
/// message took.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    io: S,
    ws: WebSocketContext,
    /// Nothing more can be read: there was an error, or a close frame.
    over: bool,
    pipes: Pipes,
}

/// What came from the device.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// A binary message.
    Frame(Bytes),
    /// A text message, which the protocol has no use for.
    Text,
    /// A ping or a pong. Pings are answered here.
    Heartbeat,
    /// The device's close frame.
    Close(CloseReason),
}

#[derive(Debug, Default)]
struct Pipes {
    /// Read from the socket and not yet by tungstenite.
    ahead: Unread,
    /// Written and not yet taken by the socket.
    out: Unread,
    /// How much of `out` are answers to pings.
    answers: u32,
    /// Whether bytes moved since this was last asked for.
    received: bool,
    sent: bool,
    /// How many bytes came and went since that was last asked for.
    came: u32,
    went: u32,
    /// Whether the stream may hold back some of what it took, as TLS does.
    unflushed: bool,
}

/// Bytes that are consumed from the front. Takes no memory while it is empty.
#[derive(Debug, Default)]
struct Unread {
    bytes: Vec<u8>,
    from: usize,
}

/// tungstenite's own read buffer, in bytes. It needs no more, since it reads from memory.
const READ_BUFFER: usize = 128;

/// How much is read from a socket at once, in bytes.
const READ_AHEAD: usize = 16 * 1024;

/// How much may wait to be sent before no more is taken from the session's queue, in bytes.
const CONGESTED: usize = 16 * 1024;

/// How many bytes of answers to pings may wait before nothing more is read.
const MAX_ANSWERS: u32 = 4 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket that has just been upgraded. `read` are bytes that came after the request.
    pub(crate) fn new(io: S, read: &[u8], max_frame: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Everything goes to our own buffer at once.
            .write_buffer_size(0)
            .max_message_size(Some(max_frame))
            .max_frame_size(Some(max_frame));
        let mut pipes = Pipes::default();
        pipes.ahead.put(read);
        pipes.came = read.len() as u32;
        Self { io, ws: WebSocketContext::new(Role::Server, Some(config)), over: false, pipes }
    }

    /// Puts a binary message into the buffer.
    pub(crate) fn send(&mut self, payload: &[u8]) {
        const FINAL_BINARY: u8 = 0x82;
        let out = &mut self.pipes.out.bytes;
        out.reserve(payload.len() + 10);
        out.push(FINAL_BINARY);
        // RFC 6455, section 5.2: lengths of 7 bits, 16 bits and 64 bits.
        match payload.len() {
            short @ 0..=125 => out.push(short as u8),
            middle @ 126..=0xffff => {
                out.push(126);
                out.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                out.push(127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
    }

    /// Puts a close frame into the buffer. Nothing may be sent after it.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        let frame = CloseFrame { code: reason.code.code().into(), reason: reason.text().into() };
        let mut pipe = self.pipes.pipe(&mut self.io, None);
        // Writing to memory does not fail; that the connection is closed already is no failure.
        let _ = self.ws.close(&mut pipe, Some(frame));
    }

    /// Puts a pong into the buffer that answers no ping: a sign of life.
    pub(crate) fn pong(&mut self) {
        const FINAL_PONG: u8 = 0x8a;
        self.pipes.out.put(&[FINAL_PONG, 0]);
    }

    /// Forgets what is still to be sent, since it cannot be.
    pub(crate) fn discard_unsent(&mut self) {
        self.pipes.out = Unread::default();
        self.pipes.unflushed = false;
    }

    /// The next message. After an error, and after a close frame, there is none.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Incoming, SessionError>> {
        if self.over {
            return Poll::Ready(Err(SessionError::Lost(io::ErrorKind::UnexpectedEof.into())));
        }
        if self.pipes.answers > MAX_ANSWERS {
            if let Err(error) = ready!(self.poll_flush(cx)) {
                self.over = true;
                return Poll::Ready(Err(SessionError::Lost(error)));
            }
        }
        let mut pipe = self.pipes.pipe(&mut self.io, Some(cx));
        Poll::Ready(match self.ws.read(&mut pipe) {
            Ok(Message::Binary(payload)) => Ok(Incoming::Frame(payload)),
            Ok(Message::Text(_)) => Ok(Incoming::Text),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(Incoming::Heartbeat),
            Ok(Message::Close(frame)) => {
                self.over = true;
                // Puts the answer into the buffer and reports that by an error.
                let _ = self.ws.flush(&mut pipe);
                Ok(Incoming::Close(frame.map_or(NO_STATUS, |frame| {
                    CloseReason::parse(frame.code.into(), &frame.reason)
                })))
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Poll::Pending;
            }
            Err(error) => {
                self.over = true;
                Err(explain(error))
            }
        })
    }

    /// Sends what is in the buffer.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pipes.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, self.pipes.out.rest()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pipes.out.consume(written);
            self.pipes.went = self.pipes.went.saturating_add(written as u32);
            self.pipes.sent = true;
            self.pipes.unflushed = true;
        }
        if self.pipes.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.pipes.unflushed = false;
            self.pipes.answers = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends our half of the connection; everything has to be flushed before.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Reads to the end of the connection without looking at it. A socket that is closed before that
    /// is reset, and what was sent last may be lost with it.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipes.ahead = Unread::default();
        loop {
            let read = read_to_scratch(Pin::new(&mut self.io), cx, |read| read.len());
            match ready!(read) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    /// Whether so much waits to be sent that no more should be added.
    pub(crate) fn is_congested(&self) -> bool {
        self.pipes.out.rest().len() > CONGESTED
    }

    /// Whether bytes came since the last call.
    pub(crate) fn take_received(&mut self) -> bool {
        std::mem::take(&mut self.pipes.received)
    }

    /// How many bytes came and went since the last call.
    pub(crate) fn take_counts(&mut self) -> (u32, u32) {
        (std::mem::take(&mut self.pipes.came), std::mem::take(&mut self.pipes.went))
    }

    /// Whether bytes went since the last call.
    pub(crate) fn take_sent(&mut self) -> bool {
        std::mem::take(&mut self.pipes.sent)
    }
}

/// What RFC 6455 has for a close frame without a code.
const NO_STATUS: CloseReason = CloseReason { code: CloseCode::Other(1005), retry_after: None };

#[expect(clippy::wildcard_enum_match_arm, reason = "tungstenite's errors, most of them a client's")]
fn explain(error: WsError) -> SessionError {
    match error {
        WsError::Io(error) => SessionError::Lost(error),
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            SessionError::Lost(io::ErrorKind::UnexpectedEof.into())
        }
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            SessionError::TooBig { size, limit: max_size }
        }
        error => SessionError::Protocol(error.to_string()),
    }
}

impl Pipes {
    fn pipe<'a, 'b, S>(
        &'a mut self,
        io: &'a mut S,
        cx: Option<&'a mut Context<'b>>,
    ) -> Pipe<'a, 'b, S> {
        Pipe { pipes: self, io, cx }
    }
}

/// What tungstenite takes for its socket.
struct Pipe<'a, 'b, S> {
    pipes: &'a mut Pipes,
    io: &'a mut S,
    /// Not there where nothing is read.
    cx: Option<&'a mut Context<'b>>,
}

impl<S: AsyncRead + Unpin> Read for Pipe<'_, '_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Pipes { ahead, received, came, .. } = &mut *self.pipes;
        if !ahead.is_empty() {
            *received = true;
            return Ok(ahead.take(into));
        }
        let Some(cx) = &mut self.cx else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let read = read_to_scratch(Pin::new(&mut *self.io), cx, |read| {
            *received |= !read.is_empty();
            *came = came.saturating_add(read.len() as u32);
            let fits = read.len().min(into.len());
            let (now, later) = read.split_at(fits);
            into[..fits].copy_from_slice(now);
            ahead.put(later);
            fits
        });
        match read {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S> Write for Pipe<'_, '_, S> {
    /// Only control frames come this way.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipes.out.put(bytes);
        self.pipes.answers = self.pipes.answers.saturating_add(bytes.len() as u32);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_to_scratch<S: AsyncRead>(
    io: Pin<&mut S>,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> usize,
) -> Poll<io::Result<usize>> {
    thread_local! {
        static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_AHEAD].into());
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let mut scratch = ReadBuf::new(scratch);
        ready!(io.poll_read(cx, &mut scratch))?;
        Poll::Ready(Ok(take(scratch.filled())))
    })
}

impl Unread {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.from >= self.bytes.len()
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let rest = self.rest();
        let fits = rest.len().min(into.len());
        into[..fits].copy_from_slice(&rest[..fits]);
        self.consume(fits);
        fits
    }

    fn consume(&mut self, count: usize) {
        self.from += count;
        if self.is_empty() {
            *self = Self::default();
        } else if self.from > self.bytes.len() / 2 && self.from > CONGESTED {
            // What is never empty would otherwise never give up what is done with.
            self.bytes.drain(..self.from);
            self.from = 0;
        }
    }
}

#[cfg(test)]
mod tests;
