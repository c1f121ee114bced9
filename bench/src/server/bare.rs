//! The peer: an echo server on tokio-tungstenite with nothing on top.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::kind::ServeOptions;
use super::listen::serve_each;
use crate::error::Result;

/// Read buffer of a connection, in bytes. tungstenite's default is 128 KiB.
const READ_BUFFER: usize = 256;

/// An echo server with one task a connection and nothing on top.
pub(super) fn start(options: &ServeOptions) -> Result<SocketAddr> {
    let tls = match &options.tls {
        None => None,
        Some((certificate, key)) => Some(acceptor(certificate, key)?),
    };
    match tls {
        None => serve_each(echo),
        Some(tls) => serve_each(move |stream| echo_over_tls(tls.clone(), stream)),
    }
}

async fn echo_over_tls(tls: TlsAcceptor, stream: TcpStream) {
    // Both boxed: a task keeps the size of the most that it ever holds at once.
    if let Ok(stream) = Box::pin(tls.accept(stream)).await {
        echo(Box::new(stream)).await;
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
    let upgrade = accept_async_with_config(stream, Some(config));
    let Ok(mut socket) = Box::pin(upgrade).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        if message.is_binary() && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Set up as in `fedecks_cloud::serve::Tls`.
fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain =
        CertificateDer::pem_file_iter(certificate)?.collect::<std::result::Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config).into())
}
