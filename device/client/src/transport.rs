//! The byte stream under a WebSocket, TCP or TLS, with counters of its traffic and of the peer's activity.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::traffic::TrafficCounters;

/// The stream that a WebSocket runs on: TCP, or TLS over TCP.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(MeteredStream),
    Tls(Box<TlsStream<MeteredStream>>),
}

impl Transport {
    /// Grows whenever the peer has shown that it is alive, even without a complete message: by sending
    /// bytes, or by acknowledging enough that a blocked write can continue.
    pub(crate) fn activity(&self) -> u64 {
        match self {
            Self::Plain(stream) => stream.activity,
            Self::Tls(stream) => stream.get_ref().0.activity,
        }
    }
}

/// A TCP stream that counts its traffic and the peer's activity.
#[derive(Debug)]
pub(crate) struct MeteredStream {
    tcp: TcpStream,
    activity: u64,
    /// The last write was blocked because the kernel's send buffer was full. It has room again only
    /// after the peer has acknowledged something.
    stalled: bool,
    traffic: TrafficCounters,
}

impl MeteredStream {
    pub(crate) fn new(tcp: TcpStream, traffic: TrafficCounters) -> Self {
        Self { tcp, activity: 0, stalled: false, traffic }
    }

    #[cfg(test)]
    pub(crate) fn nodelay(&self) -> io::Result<bool> {
        self.tcp.nodelay()
    }

    fn wrote(&mut self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(count)) => {
                self.traffic.bytes_sent(*count);
                if std::mem::take(&mut self.stalled) {
                    self.activity += *count as u64;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.stalled = true,
        }
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.tcp).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        this.activity += count as u64;
        this.traffic.bytes_received(count);
        result
    }
}

impl AsyncWrite for MeteredStream {
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
        (Transport::Plain(MeteredStream::new(ours, TrafficCounters::default())), theirs)
    }

    #[tokio::test]
    async fn received_bytes_are_activity_and_both_directions_are_counted() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(b"half a frame!").await.unwrap();
        assert_eq!(ours.activity(), 0);
        ours.read_exact(&mut [0; 13]).await.unwrap();
        assert_eq!(ours.activity(), 13);
        ours.write_all(b"to the cloud").await.unwrap();
        let Transport::Plain(ours) = ours else { panic!("not plain") };
        let traffic = ours.traffic.read();
        assert_eq!((traffic.bytes_received, traffic.bytes_sent), (13, 12));
    }

    #[tokio::test]
    async fn a_blocked_write_that_continues_is_activity() {
        let (mut ours, mut theirs) = pair().await;
        let chunk = vec![0; 64 * 1024];
        // The peer reads nothing: at some point a write blocks.
        let mut written = 0;
        while let Some(count) = futures_util::future::FutureExt::now_or_never(ours.write(&chunk)) {
            written += count.unwrap();
        }
        assert_eq!(ours.activity(), 0);
        theirs.read_exact(&mut vec![0; written]).await.unwrap();
        ours.write_all(&chunk).await.unwrap();
        assert!(ours.activity() > 0);
    }
}
