//! What a socket has read and not yet handled, or has still to write.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use super::byte_queue::ByteQueue;
use super::frame_head::FrameHead;
use super::ping::Ping;

#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Read from the stream but not yet by tungstenite.
    pub(super) input: ByteQueue,
    /// How much of the current frame tungstenite has not read yet, in bytes.
    pub(super) frame_rest: u32,
    /// Not yet written to the stream.
    pub(super) output: ByteQueue,
    /// The number of bytes in `output` that answer pings.
    pub(super) pong_bytes: u16,
    /// The longest message that is accepted, in bytes.
    pub(super) max_frame: u32,
    /// Nothing more can be read, after an error or a close frame.
    pub(super) ended: bool,
    /// A fragment was read, and not the last one of its message.
    pub(super) fragmented: bool,
    /// The number of bytes received and sent since the last query.
    pub(super) received_bytes: u32,
    pub(super) sent_bytes: u32,
    /// Whether the stream may buffer some of what was written, as TLS does.
    pub(super) unflushed: bool,
}

/// What is at the beginning of the input.
pub(super) enum Begun {
    /// A frame that is admitted, for tungstenite.
    Frame,
    /// Nothing yet: a ping was answered.
    Answered,
    /// The stream has ended.
    End,
}

/// The smallest size of tungstenite's read buffer, in bytes. If the first frame that it reads is longer, so is the
/// buffer.
const READ_BUFFER: usize = 128;

/// Maximum number of bytes read from a stream at once, which are all of one frame.
pub(super) const READ_AT_ONCE: usize = 16 * 1024;

/// Maximum number of bytes read before it is known what frames they are.
pub(super) const READ_AHEAD: usize = 4 * 1024;

impl Buffers {
    /// tungstenite's state before the frame that begins now.
    pub(super) fn context(&self) -> Box<WebSocketContext> {
        let buffer = (self.frame_rest as usize).clamp(READ_BUFFER, READ_AT_ONCE);
        let config = WebSocketConfig::default()
            .read_buffer_size(buffer)
            // Everything goes to our buffer immediately.
            .write_buffer_size(0)
            .max_message_size(Some(self.max_frame as usize))
            .max_frame_size(Some(self.max_frame as usize));
        Box::new(WebSocketContext::new(Role::Server, Some(config)))
    }

    /// Reads on to the next frame, and asks whether it is admitted. If it `answers`, it does so to a complete ping.
    pub(super) fn begin_frame<S: AsyncRead>(
        &mut self,
        mut io: Pin<&mut S>,
        cx: &mut Context<'_>,
        answers: bool,
        admit: &mut dyn FnMut(&FrameHead) -> bool,
    ) -> io::Result<Begun> {
        loop {
            if let Some(head) = FrameHead::parse(self.input.rest()) {
                if !admit(&head) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let Self { input, output, pong_bytes, max_frame, .. } = self;
                let ping = if answers { Ping::of(&head, input.rest(), *max_frame) } else { None };
                if let Some(ping) = ping {
                    ping.answer(output, pong_bytes);
                    input.consume(ping.length());
                    return Ok(Begun::Answered);
                }
                // One that is longer is above every limit.
                self.frame_rest = u32::try_from(head.length()).unwrap_or(u32::MAX);
                return Ok(Begun::Frame);
            }
            match self.fill_unless_ping(io.as_mut(), cx, answers, admit)? {
                Begun::Frame => {}
                answered_or_end => return Ok(answered_or_end),
            }
        }
    }

    /// Reads more input from the stream. A ping that is admitted, and all that there is, is answered at once, so that
    /// there is no need to keep it.
    fn fill_unless_ping<S: AsyncRead>(
        &mut self,
        io: Pin<&mut S>,
        cx: &mut Context<'_>,
        answers: bool,
        admit: &mut dyn FnMut(&FrameHead) -> bool,
    ) -> io::Result<Begun> {
        let Self { input, output, pong_bytes, max_frame, received_bytes, .. } = self;
        let answers = answers && input.is_empty();
        let read = read_to_scratch(io, cx, READ_AHEAD, |read| {
            *received_bytes = received_bytes.saturating_add(read.len() as u32);
            let head = if answers { FrameHead::parse(read) } else { None };
            let ping = head.and_then(|head| {
                let ping = Ping::of(&head, read, *max_frame)?;
                (ping.length() == read.len() && admit(&head)).then_some(ping)
            });
            match ping {
                Some(ping) => {
                    ping.answer(output, pong_bytes);
                    Begun::Answered
                }
                None if read.is_empty() => Begun::End,
                None => {
                    input.push(read);
                    Begun::Frame
                }
            }
        });
        blocking(read)
    }

    /// Reads more input from the stream; returns how much.
    pub(super) fn fill<S: AsyncRead>(
        &mut self,
        io: Pin<&mut S>,
        cx: &mut Context<'_>,
        most: usize,
    ) -> io::Result<usize> {
        let Self { input, received_bytes, .. } = self;
        let read = read_to_scratch(io, cx, most, |read| {
            *received_bytes = received_bytes.saturating_add(read.len() as u32);
            input.push(read);
            read.len()
        });
        blocking(read)
    }
}

fn blocking<T>(read: Poll<io::Result<T>>) -> io::Result<T> {
    match read {
        Poll::Ready(read) => read,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Reads at most `most` bytes into a buffer of the thread, and has them taken from there.
pub(super) fn read_to_scratch<S: AsyncRead, T>(
    io: Pin<&mut S>,
    cx: &mut Context<'_>,
    most: usize,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    thread_local! {
        static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_AT_ONCE].into());
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let most = most.min(scratch.len());
        let mut scratch = ReadBuf::new(&mut scratch[..most]);
        ready!(io.poll_read(cx, &mut scratch))?;
        Poll::Ready(Ok(take(scratch.filled())))
    })
}
