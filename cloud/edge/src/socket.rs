//! A connection's socket, plain or with TLS, which holds the connection's permit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::activity::Activity;
use crate::limiter::{Permit, SettledPermit};
use crate::tls_input::TlsInput;

/// A socket that releases its permit when it is closed. `Upgraded::downcast::<TokioIo<Socket>>` takes it
/// out of hyper's boxes after the upgrade of a request that [`serve`](crate::serve) received.
pub struct Socket {
    io: Io,
    /// `None` before and after the connection is HTTP.
    activity: Option<Arc<Activity>>,
    /// What was read before HTTP, which reads it again. It fits into its buffer, so that nothing is left at an upgrade.
    read: Vec<u8>,
    permit: Permit,
}

/// The socket of a connection that is upgraded, without what HTTP noted about it, which takes memory.
pub struct UpgradedSocket {
    io: Io,
    _permit: SettledPermit,
}

/// TLS is boxed: an enum is as big as its biggest variant.
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TlsInput>>),
}

impl Socket {
    pub(crate) fn plain(stream: TcpStream, permit: Permit) -> Self {
        Self { io: Io::Plain(stream), activity: None, read: Vec::new(), permit }
    }

    pub(crate) fn tls(stream: TlsStream<TlsInput>, permit: Permit) -> Self {
        Self { io: Io::Tls(Box::new(stream)), activity: None, read: Vec::new(), permit }
    }

    /// The same connection for HTTP, which notes what it does. These bytes were read before.
    pub(crate) fn http(self, activity: Arc<Activity>, read: Vec<u8>) -> Self {
        Self { activity: Some(activity), read, ..self }
    }

    /// The same connection, upgraded.
    #[must_use]
    pub fn upgraded(self) -> UpgradedSocket {
        UpgradedSocket { io: self.io, _permit: self.permit.settle() }
    }
}

/// Evaluates the expression with the stream, whichever it is.
macro_rules! with_stream {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io {
            Io::Plain($stream) => $call,
            Io::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = with_stream!(&mut *self, stream => Pin::new(stream).poll_read(cx, buffer));
        if let (Self::Tls(stream), true) = (&mut *self, buffer.filled().len() > before) {
            stream.get_mut().0.had_content();
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with_stream!(&mut *self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(&mut *self, stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        with_stream!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = if self.read.is_empty() {
            Pin::new(&mut self.io).poll_read(cx, buffer)
        } else {
            let size = self.read.len().min(buffer.remaining());
            let later = self.read.split_off(size);
            buffer.put_slice(&std::mem::replace(&mut self.read, later));
            Poll::Ready(Ok(()))
        };
        if buffer.filled().len() > before
            && self.activity.as_ref().is_some_and(|activity| !activity.received())
        {
            self.activity = None;
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        // hyper flushes only when it has written all that it had buffered.
        if let (Poll::Ready(Ok(())), Some(activity)) = (&flushed, &self.activity) {
            activity.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncRead for UpgradedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for UpgradedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
