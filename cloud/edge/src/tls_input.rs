//! What a client sends over TLS, as far as it has to become content.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection whose client may send only [`MOST`] bytes without content. rustls collects a handshake message of
/// up to 64 KiB, before anything is known of the client and at any time after that.
pub(crate) struct TlsInput {
    tcp: TcpStream,
    /// How many bytes were received since the latest content.
    without_content: u32,
}

/// The most that is received without content, in bytes: more than the longest record, and ten times as much as
/// the ClientHello of any client.
const MOST: u32 = 24 * 1024;

impl TlsInput {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self { tcp, without_content: 0 }
    }

    /// What was received had content.
    pub(crate) fn had_content(&mut self) {
        self.without_content = 0;
    }
}

impl AsyncRead for TlsInput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.without_content > MOST {
            let problem = "the client sent too much TLS without content";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        let received = u32::try_from(buffer.filled().len() - before).unwrap_or(u32::MAX);
        self.without_content = self.without_content.saturating_add(received);
        read
    }
}

impl AsyncWrite for TlsInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
