//! A bus connection's socket that skips messages which are too big, before any memory is allocated for them.
//! D-Bus itself allows 128 MiB, and every local user may send signals.

use std::io::{self, ErrorKind};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use zbus::connection::socket::{ReadHalf, Socket, Split};
use zbus::fdo::ConnectionCredentials;
use zbus::zvariant::serialized::{Context, Data};
use zbus::zvariant::{Endian, Value};

/// The biggest message that is received, in bytes.
pub(crate) const MAX_MESSAGE: usize = 5 * 256 * 1024;

/// What D-Bus allows; more is not a message.
const MAX_ON_BUS: u64 = 128 * 1024 * 1024;

/// The fixed part of a message, which zbus reads first.
const HEADER: usize = 16;

/// The most that the header fields of a skipped message may take for its sender to get an answer, in bytes.
const MAX_FIELDS: usize = 4 * 1024;

/// After a message of more bytes, other tasks have their turn before the next one is read.
const BIG: usize = 16 * 1024;

/// How many turns: more than a call passes through tasks until it is refused or admitted.
const TURNS: usize = 16;

/// A call that was skipped.
#[derive(Debug)]
pub(crate) struct SkippedCall {
    pub(crate) serial: NonZeroU32,
    pub(crate) sender: String,
}

/// The socket, before it is split.
pub(crate) struct BoundedSocket {
    stream: UnixStream,
    skipped: mpsc::Sender<SkippedCall>,
}

/// The half that reads.
#[derive(Debug)]
pub(crate) struct BoundedReadHalf {
    inner: OwnedReadHalf,
    skipped: mpsc::Sender<SkippedCall>,
    state: State,
    /// The size of the last message that was passed on, in bytes.
    last: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Lines, until zbus asks for a header.
    Authenticating,
    /// The rest of a message in bytes; the next one begins after it.
    Message(usize),
}

type Received = io::Result<(usize, Vec<OwnedFd>)>;

impl BoundedSocket {
    /// Calls that are skipped are reported to `skipped`, unless it is full.
    pub(crate) fn new(stream: UnixStream, skipped: mpsc::Sender<SkippedCall>) -> Self {
        Self { stream, skipped }
    }
}

impl Socket for BoundedSocket {
    type ReadHalf = BoundedReadHalf;
    type WriteHalf = OwnedWriteHalf;

    fn split(self) -> Split<BoundedReadHalf, OwnedWriteHalf> {
        let (inner, write) = self.stream.into_split();
        let read =
            BoundedReadHalf { inner, skipped: self.skipped, state: State::Authenticating, last: 0 };
        Split::new(read, write)
    }
}

impl ReadHalf for BoundedReadHalf {
    // As `async_trait` writes it.
    fn recvmsg<'a, 'b, 'c>(
        &'a mut self,
        buffer: &'b mut [u8],
    ) -> Pin<Box<dyn Future<Output = Received> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.receive(buffer))
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.inner.can_pass_unix_fd()
    }

    fn peer_credentials<'a, 'c>(
        &'a mut self,
    ) -> Pin<Box<dyn Future<Output = io::Result<ConnectionCredentials>> + Send + 'c>>
    where
        'a: 'c,
        Self: 'c,
    {
        self.inner.peer_credentials()
    }
}

impl BoundedReadHalf {
    async fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match self.state {
            // Byte by byte, so that no part of the first message is read with the last line.
            State::Authenticating if buffer.len() != HEADER => {
                let end = buffer.len().min(1);
                self.inner.recvmsg(buffer.get_mut(..end).unwrap_or_default()).await
            }
            State::Authenticating | State::Message(0) => self.begin_message(buffer).await,
            State::Message(rest) => {
                let end = buffer.len().min(rest);
                let (read, fds) =
                    self.inner.recvmsg(buffer.get_mut(..end).unwrap_or_default()).await?;
                self.state = State::Message(rest - read);
                Ok((read, fds))
            }
        }
    }

    /// Reads the header of the next message that is not too big.
    async fn begin_message(&mut self, buffer: &mut [u8]) -> Received {
        if self.last > BIG {
            // Otherwise messages that came at once would all be in memory before the first is handled: zbus
            // reads on while its tasks wait for their turn.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        }
        let mut fds = Vec::new();
        loop {
            let mut header = [0; HEADER];
            if !self.read_exact(&mut header, &mut fds).await? {
                return Ok((0, fds));
            }
            let parsed = Header::parse(&header).ok_or(ErrorKind::InvalidData)?;
            if parsed.size <= MAX_MESSAGE {
                let target = buffer.get_mut(..HEADER).ok_or(ErrorKind::InvalidInput)?;
                target.copy_from_slice(&header);
                self.state = State::Message(parsed.size - HEADER);
                self.last = parsed.size;
                return Ok((HEADER, fds));
            }
            self.skip(&header, &parsed).await?;
            fds.clear();
        }
    }

    async fn skip(&mut self, header: &[u8; HEADER], parsed: &Header) -> io::Result<()> {
        tracing::warn!(
            size = parsed.size,
            max = MAX_MESSAGE,
            "skipped a message from the system bus that is too big"
        );
        let (mut rest, mut fds) = (parsed.size - HEADER, Vec::new());
        if let (Some(serial), true) = (parsed.call, parsed.fields <= MAX_FIELDS) {
            // With the length of the array.
            let mut fields = vec![0; 4 + parsed.fields];
            fields[..4].copy_from_slice(&header[HEADER - 4..]);
            if !self.read_exact(&mut fields[4..], &mut fds).await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            rest -= parsed.fields;
            if let Some(sender) = sender(&fields, parsed.endian) {
                let _ = self.skipped.try_send(SkippedCall { serial, sender });
            }
        }
        let mut scratch = [0; 4 * 1024];
        while rest > 0 {
            let end = rest.min(scratch.len());
            let (read, _) = self.inner.recvmsg(&mut scratch[..end]).await?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            rest -= read;
        }
        Ok(())
    }

    /// Returns false at the end of the connection.
    async fn read_exact(&mut self, mut to: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<bool> {
        while !to.is_empty() {
            let (read, more) = self.inner.recvmsg(to).await?;
            if read == 0 {
                return Ok(false);
            }
            fds.extend(more);
            to = to.get_mut(read..).unwrap_or_default();
        }
        Ok(true)
    }
}

/// The fixed part of a message.
struct Header {
    endian: Endian,
    /// The serial number, if it is a call whose sender waits for an answer.
    call: Option<NonZeroU32>,
    /// The length of the header fields.
    fields: usize,
    /// The length of the message.
    size: usize,
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let endian = match bytes[0] {
            b'l' => Endian::Little,
            b'B' => Endian::Big,
            _ => return None,
        };
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(match endian {
                Endian::Little => u32::from_le_bytes(bytes),
                Endian::Big => u32::from_be_bytes(bytes),
            })
        };
        let (body, serial, fields) = (number(4)?, number(8)?, number(12)?);
        let size = HEADER as u64 + u64::from(fields).next_multiple_of(8) + u64::from(body);
        if size > MAX_ON_BUS {
            return None;
        }
        let (is_call, expects_no_reply) = (bytes[1] == 1, bytes[2] & 1 != 0);
        Some(Self {
            endian,
            call: NonZeroU32::new(serial).filter(|_| is_call && !expects_no_reply),
            fields: usize::try_from(fields).ok()?,
            size: usize::try_from(size).ok()?,
        })
    }
}

/// The sender among the header fields, an array of pairs.
fn sender(fields: &[u8], endian: Endian) -> Option<String> {
    const SENDER: u8 = 7;
    // The array begins 12 bytes after the start of the message.
    let data = Data::new(fields, Context::new_dbus(endian, 12));
    let (fields, _) = data.deserialize::<Vec<(u8, Value<'_>)>>().ok()?;
    fields.into_iter().find_map(|(code, value)| match (code, value) {
        (SENDER, Value::Str(name)) => Some(name.to_string()),
        _ => None,
    })
}
