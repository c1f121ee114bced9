//! The server side of a WebSocket, with buffers that exist only while they are needed.

mod buffers;
mod byte_queue;
mod frame_head;
mod ping;

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fedecks_protocol::{CloseCode, CloseReason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketContext};

pub(crate) use frame_head::{FrameHead, FrameKind};

use self::buffers::{Begun, Buffers, READ_AHEAD, READ_AT_ONCE, read_to_scratch};
use self::byte_queue::ByteQueue;
use crate::session::error::SessionError;

/// The server side of a WebSocket, polled by one task.
///
/// tungstenite implements the protocol; this type adds buffers that exist only while they are needed.
/// Reads go through a thread-local buffer, so that one system call reads up to 16 KiB. tungstenite is handed
/// one frame at a time, after the session has admitted it, and its state exists only while it says something. Most
/// pings are answered without it, see `ping`. Writes are collected in one buffer, which is freed
/// when it is empty; tungstenite would keep a buffer as large as its biggest message.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    io: S,
    /// `None` between two messages, unless a close frame was sent or received: any other is like a new one then.
    ws: Option<Box<WebSocketContext>>,
    buffers: Buffers,
}

/// A message from the device.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// A binary message.
    Frame(Bytes),
    /// A text message, which the protocol does not use.
    Text,
    /// A ping or a pong. Pings are answered by the socket.
    Heartbeat,
    /// A frame of a message that is not complete yet.
    Fragment,
    /// The device's close frame.
    Close(CloseReason),
}

/// Maximum number of buffered bytes before the session sends no more.
const CONGESTED: usize = 16 * 1024;

/// Maximum number of buffered bytes that answer pings before reading pauses.
const MAX_PONG_BYTES: u16 = 4 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket that has just been upgraded. `read` contains the bytes received after the request.
    pub(crate) fn new(io: S, read: &[u8], max_frame: usize) -> Self {
        let max_frame = u32::try_from(max_frame).unwrap_or(u32::MAX);
        let mut buffers = Buffers { max_frame, ..Buffers::default() };
        buffers.input.push(read);
        buffers.received_bytes = read.len() as u32;
        Self { io, ws: None, buffers }
    }

    /// Buffers the head of the response to the upgrade, before all frames.
    #[cfg(feature = "serve")]
    pub(crate) fn respond(&mut self, head: &[u8]) {
        self.buffers.output.push(head);
    }

    /// Buffers a binary message.
    pub(crate) fn send(&mut self, payload: &[u8]) {
        const FINAL_BINARY: u8 = 0x82;
        let out = self.buffers.output.bytes();
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

    /// Buffers a close frame. Nothing may be sent after it.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        let frame = CloseFrame { code: reason.code.code().into(), reason: reason.text().into() };
        let ws = self.ws.get_or_insert_with(|| self.buffers.context());
        let mut adapter = Adapter { buffers: &mut self.buffers, io: &mut self.io, cx: None };
        // Writing to memory cannot fail, and a connection that is closed already needs no close frame.
        let _ = ws.close(&mut adapter, Some(frame));
    }

    /// Buffers an unsolicited pong, as a keepalive.
    pub(crate) fn pong(&mut self) {
        const FINAL_PONG: u8 = 0x8a;
        self.buffers.output.push(&[FINAL_PONG, 0]);
    }

    /// Discards what cannot be sent any more.
    pub(crate) fn discard_unsent(&mut self) {
        self.buffers.output = ByteQueue::default();
        self.buffers.unflushed = false;
    }

    /// Reads at most one frame, and returns the message that is complete with it. Fails after an error or a
    /// close frame.
    ///
    /// `admit` is asked before anything is kept of a frame. If it refuses, the frame is read later, and the
    /// caller has to see to it that the task is woken.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        admit: &mut dyn FnMut(&FrameHead) -> bool,
    ) -> Poll<Result<Incoming, SessionError>> {
        if self.buffers.ended {
            return Poll::Ready(Err(SessionError::Lost(io::ErrorKind::UnexpectedEof.into())));
        }
        if self.buffers.pong_bytes > MAX_PONG_BYTES {
            if let Err(error) = ready!(self.poll_flush(cx)) {
                self.buffers.ended = true;
                return Poll::Ready(Err(SessionError::Lost(error)));
            }
        }
        if self.buffers.frame_rest == 0 {
            // tungstenite answers pings as well, except after a close frame.
            let answers = self.ws.as_ref().is_none_or(|ws| ws.can_write());
            match self.buffers.begin_frame(Pin::new(&mut self.io), cx, answers, admit) {
                Ok(Begun::Frame) => {}
                Ok(Begun::Answered) => return Poll::Ready(Ok(Incoming::Heartbeat)),
                Ok(Begun::End) => {
                    return Poll::Ready(Err(self.lost(io::ErrorKind::UnexpectedEof.into())));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(self.lost(error))),
            }
        }
        let ws = self.ws.get_or_insert_with(|| self.buffers.context());
        let mut adapter = Adapter { buffers: &mut self.buffers, io: &mut self.io, cx: Some(cx) };
        let read = ws.read(&mut adapter);
        Poll::Ready(match read {
            Ok(Message::Binary(payload)) => {
                self.buffers.fragmented = false;
                Ok(Incoming::Frame(payload))
            }
            Ok(Message::Text(_)) => {
                self.buffers.fragmented = false;
                Ok(Incoming::Text)
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                // Buffers the answer. Once we have sent a close frame, there is none.
                let _ = ws.flush(&mut adapter);
                Ok(Incoming::Heartbeat)
            }
            Ok(Message::Close(frame)) => {
                adapter.buffers.ended = true;
                // Buffers the answer, and reports that by an error.
                let _ = ws.flush(&mut adapter);
                Ok(Incoming::Close(frame.map_or(NO_STATUS, |frame| {
                    CloseReason::parse(frame.code.into(), &frame.reason)
                })))
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.buffers.frame_rest == 0 {
                    self.buffers.fragmented = true;
                    return Poll::Ready(Ok(Incoming::Fragment));
                }
                return Poll::Pending;
            }
            Err(error) => {
                self.buffers.ended = true;
                Err(session_error(error))
            }
        })
    }

    fn lost(&mut self, error: io::Error) -> SessionError {
        self.buffers.ended = true;
        SessionError::Lost(error)
    }

    /// Whether [`Socket::rest`] may have something to free.
    pub(crate) fn is_at_work(&self) -> bool {
        self.ws.is_some() || self.buffers.input.memory() + self.buffers.output.memory() > 0
    }

    /// Frees what the next message may use again. Between two messages a new state of tungstenite is as good as this
    /// one.
    pub(crate) fn rest(&mut self) {
        let Buffers { input, output, frame_rest, fragmented, .. } = &mut self.buffers;
        input.free_if_empty();
        output.free_if_empty();
        let is_within_message = *frame_rest > 0 || *fragmented;
        if !is_within_message && self.ws.as_ref().is_some_and(|ws| ws.can_write()) {
            self.ws = None;
        }
    }

    /// Writes the buffer to the stream and flushes it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffers.output.is_empty() {
            let written =
                ready!(Pin::new(&mut self.io).poll_write(cx, self.buffers.output.rest()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffers.output.consume(written);
            self.buffers.sent_bytes = self.buffers.sent_bytes.saturating_add(written as u32);
            self.buffers.unflushed = true;
        }
        if self.buffers.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.buffers.unflushed = false;
            self.buffers.pong_bytes = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Shuts down our half of the connection. Everything has to be flushed before.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Reads and discards everything to the end of the connection, or as many bytes as are `left` to read. If
    /// a socket is closed earlier, the kernel resets the connection, and what was sent last may be lost.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut u32) -> Poll<()> {
        self.buffers.input = ByteQueue::default();
        loop {
            let read = read_to_scratch(Pin::new(&mut self.io), cx, READ_AT_ONCE, |read| read.len());
            match ready!(read) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(read) if read as u32 >= *left => return Poll::Ready(()),
                Ok(read) => *left -= read as u32,
            }
        }
    }

    /// Whether too much is buffered to send more.
    pub(crate) fn is_congested(&self) -> bool {
        self.unsent() > CONGESTED
    }

    /// The number of bytes that are buffered to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.buffers.output.rest().len()
    }

    /// The memory that these take, in bytes: also what was sent and is not released yet, and what the buffer has
    /// reserved.
    pub(crate) fn unsent_memory(&self) -> usize {
        self.buffers.output.memory()
    }

    /// Whether bytes were received since the last call of [`Socket::take_counts`].
    pub(crate) fn has_received(&self) -> bool {
        self.buffers.received_bytes > 0
    }

    /// The number of bytes received and sent since the last call.
    pub(crate) fn take_counts(&mut self) -> (u32, u32) {
        (
            std::mem::take(&mut self.buffers.received_bytes),
            std::mem::take(&mut self.buffers.sent_bytes),
        )
    }
}

/// The code that RFC 6455 assigns to a close frame without a code.
const NO_STATUS: CloseReason = CloseReason { code: CloseCode::Other(1005), retry_after: None };

fn session_error(error: WsError) -> SessionError {
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

/// The stream and its buffers as the blocking stream that tungstenite expects.
struct Adapter<'a, 'b, S> {
    buffers: &'a mut Buffers,
    io: &'a mut S,
    /// `None` if nothing is read.
    cx: Option<&'a mut Context<'b>>,
}

impl<S: AsyncRead + Unpin> Read for Adapter<'_, '_, S> {
    /// Reads only from the current frame. tungstenite reads on until a message is complete, and so returns
    /// after each frame.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Self { buffers, io, cx: Some(cx) } = self else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let rest = buffers.frame_rest as usize;
        if rest == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if buffers.input.is_empty()
            && buffers.fill(Pin::new(&mut **io), cx, rest.clamp(READ_AHEAD, READ_AT_ONCE))? == 0
        {
            return Ok(0);
        }
        let fits = rest.min(into.len());
        let taken = buffers.input.take(&mut into[..fits]);
        buffers.frame_rest -= taken as u32;
        Ok(taken)
    }
}

impl<S> Write for Adapter<'_, '_, S> {
    /// Only control frames are written this way.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffers.output.push(bytes);
        self.buffers.pong_bytes = self.buffers.pong_bytes.saturating_add(bytes.len() as u16);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
