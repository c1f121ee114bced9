//! The bytes under a WebSocket, TCP or TLS, counted and as signs of life.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::traffic::Meter;

/// What a WebSocket runs on: TCP, or TLS over it.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Counted),
    Tls(Box<TlsStream<Counted>>),
}

impl Transport {
    /// Grows whenever the other end has shown that it lives, even if nothing is whole yet: by bytes
    /// that came, or by making room for bytes that had to wait.
    pub(crate) fn life(&self) -> u64 {
        match self {
            Self::Plain(stream) => stream.life,
            Self::Tls(stream) => stream.get_ref().0.life,
        }
    }
}

/// A TCP stream that counts its bytes, and those by which the other end shows that it lives.
#[derive(Debug)]
pub(crate) struct Counted {
    tcp: TcpStream,
    life: u64,
    /// The last write had to wait: the kernel's buffer was full. It has room again only when the
    /// other end has acknowledged something.
    stalled: bool,
    meter: Meter,
}

impl Counted {
    pub(crate) fn new(tcp: TcpStream, meter: Meter) -> Self {
        Self { tcp, life: 0, stalled: false, meter }
    }

    fn wrote(&mut self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(count)) => {
                self.meter.bytes_sent(*count);
                if std::mem::take(&mut self.stalled) {
                    self.life += *count as u64;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.stalled = true,
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.tcp).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        this.life += count as u64;
        this.meter.bytes_received(count);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.tcp).poll_write(context, bytes);
        this.wrote(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.tcp).poll_write_vectored(context, slices);
        this.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Transport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (Transport::Plain(Counted::new(ours, Meter::default())), theirs)
    }

    #[tokio::test]
    async fn bytes_that_come_are_a_sign_of_life() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(b"half a frame").await.unwrap();
        assert_eq!(ours.life(), 0);
        ours.read_exact(&mut [0; 12]).await.unwrap();
        assert_eq!(ours.life(), 12);
    }

    #[tokio::test]
    async fn bytes_are_counted_both_ways() {
        let (ours, mut theirs) = pair().await;
        let Transport::Plain(mut ours) = ours else { panic!("not plain") };
        theirs.write_all(b"to the device").await.unwrap();
        ours.read_exact(&mut [0; 13]).await.unwrap();
        ours.write_all(b"to the cloud").await.unwrap();
        let traffic = ours.meter.read();
        assert_eq!((traffic.bytes_received, traffic.bytes_sent), (13, 12));
    }

    #[tokio::test]
    async fn room_for_bytes_that_had_to_wait_is_a_sign_of_life_and_a_first_write_is_none() {
        let (mut ours, mut theirs) = pair().await;
        let chunk = vec![0; 64 * 1024];
        // The other end reads nothing: at some point a write has to wait.
        let mut written = 0;
        while let Some(count) = futures_util::future::FutureExt::now_or_never(ours.write(&chunk)) {
            written += count.unwrap();
        }
        assert_eq!(ours.life(), 0);
        let mut taken = vec![0; written];
        theirs.read_exact(&mut taken).await.unwrap();
        ours.write_all(&chunk).await.unwrap();
        assert!(ours.life() > 0);
    }
}
