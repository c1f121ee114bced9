//! Shared by the unit tests: deadlines, upgrades, certificates and trusted times.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fedecks_protocol::{DeliveryOffer, Dialect, DownFrame, IssuedToken, Limits, Token, Welcome};
use futures_util::SinkExt;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::clock::WallClock;
use crate::dial::Target;
use crate::tls::verifier::TimedVerifier;
use crate::tls::{TlsOptions, Trust, TrustedTime, VerifiedPeer};

/// From not-before to not-after.
pub(crate) type Validity = (UnixTime, UnixTime);

/// A directory that does not exist.
pub(crate) const NOWHERE: &str = "/nonexistent/fedecks";

/// The output of `future`, which takes far less than 30 s.
pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("timed out")
}

/// The cloud at `url`, with the default options.
pub(crate) fn target(url: &str, limits: &Limits) -> Target {
    let time = TrustedTime::new(WallClock::system(), Path::new(NOWHERE));
    let url = url.parse().unwrap();
    Target::new(url, &TlsOptions::default(), time, Dialect::Bincode, limits).unwrap()
}

/// The cloud's end of an upgrade, and the request for it.
pub(crate) async fn accept<S>(stream: S) -> (WebSocketStream<S>, Request)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut received = None;
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let agree = |request: &Request, mut response: Response| {
        received = Some(request.clone());
        let name = "sec-websocket-protocol";
        response.headers_mut().insert(name, request.headers()[name].clone());
        Ok::<_, ErrorResponse>(response)
    };
    let socket = accept_hdr_async(stream, agree).await.unwrap();
    (socket, received.unwrap())
}

/// The cloud's end of a connection whose device was welcomed with this offer, and has a token.
pub(crate) async fn accept_with<S>(stream: S, offer: DeliveryOffer) -> WebSocketStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut socket, _) = accept(stream).await;
    let welcome = DownFrame::Welcome(Welcome {
        server_time_ms: 0,
        heartbeat: Duration::from_secs(300),
        idle_timeout: Duration::from_secs(600),
        max_frame: 1024 * 1024,
        delivery: Some(offer),
    });
    let token = Token::new("v4.local.abc").unwrap();
    let token = DownFrame::Token(IssuedToken { token, expires_at: 1_798_761_599 });
    for frame in [welcome, token] {
        send_frame(&mut socket, &frame).await;
    }
    socket
}

/// Sends a frame to the device.
pub(crate) async fn send_frame<S>(socket: &mut WebSocketStream<S>, frame: &DownFrame)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let bytes = Dialect::Bincode.encode_down(frame, &Limits::default()).unwrap();
    socket.send(Message::binary(bytes)).await.unwrap();
}

/// The TLS configuration of a cloud with this chain and key, as PEM.
pub(crate) fn server_config(
    clients: Arc<dyn ClientCertVerifier>,
    (chain, key): (String, String),
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(parse_chain(&chain), key);
    Arc::new(config.unwrap())
}

pub(crate) fn epoch() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::ZERO)
}

/// Noon, UTC, on the first day of a month.
pub(crate) fn first(year: i32, month: u8) -> UnixTime {
    let midnight = rcgen::date_time_ymd(year, month, 1).unix_timestamp();
    let noon = u64::try_from(midnight).unwrap() + 12 * 3600;
    UnixTime::since_unix_epoch(Duration::from_secs(noon))
}

pub(crate) fn year_2026() -> Validity {
    (first(2026, 1), first(2027, 1))
}

/// The trusted time of a program built at `build`, on a board whose clock shows `clock`.
pub(crate) fn trusted_time(
    build: UnixTime,
    clock: UnixTime,
    directory: impl AsRef<Path>,
) -> TrustedTime {
    TrustedTime::built_at(build.as_secs(), WallClock::new(move || clock), directory.as_ref())
}

/// A cloud with its own authority, and a directory for its devices.
pub(crate) struct Cloud {
    pub(crate) directory: TempDir,
    pub(crate) authority: Authority,
    pub(crate) config: Arc<ServerConfig>,
}

impl Cloud {
    /// A cloud whose certificate is valid in 2026.
    pub(crate) fn new(name: &str) -> Self {
        let directory = tempdir().unwrap();
        let authority = Authority::new();
        fs::write(directory.path().join("ca.pem"), authority.root.pem()).unwrap();
        let issued = authority.issue(name, year_2026());
        let config = server_config(WebPkiClientVerifier::no_client_auth(), issued);
        Self { directory, authority, config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The options of a device that trusts only this cloud's authority.
    pub(crate) fn options(&self) -> TlsOptions {
        TlsOptions { trust: Trust::Only(self.path("ca.pem")), identity: None }
    }
}

/// A certificate authority with a root and an intermediate.
pub(crate) struct Authority {
    root: Certificate,
    intermediate: Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::until(first(2090, 1))
    }

    /// One whose intermediate expires at `not_after`.
    pub(crate) fn until(not_after: UnixTime) -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority("root", first(2090, 1)).self_signed(&root_key).unwrap();
        let intermediate = authority("intermediate", not_after);
        let intermediate = intermediate.signed_by(&key, &root, &root_key).unwrap();
        Self { root, intermediate, key }
    }

    /// The chain of a server or client of this name, and its key, as PEM.
    pub(crate) fn issue(&self, name: &str, validity: Validity) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        set_validity(&mut params, validity);
        let own = params.signed_by(&key, &self.intermediate, &self.key).unwrap();
        (own.pem() + &self.intermediate.pem(), key.serialize_pem())
    }

    /// The chain alone.
    pub(crate) fn chain(&self, name: &str, validity: Validity) -> Vec<CertificateDer<'static>> {
        parse_chain(&self.issue(name, validity).0)
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        Arc::new(roots)
    }

    pub(crate) fn verifier(&self, time: TrustedTime) -> TimedVerifier {
        let provider = Arc::new(ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(self.roots(), provider);
        TimedVerifier::new(inner.build().unwrap(), time)
    }

    /// A verified server with a certificate of this validity.
    pub(crate) fn verified_peer(&self, validity: Validity) -> VerifiedPeer {
        let chain = self.chain("cloud.test", validity);
        let time = trusted_time(validity.0, validity.0, NOWHERE);
        let name = ServerName::try_from("cloud.test").unwrap();
        VerifiedPeer::new(Arc::new(self.verifier(time)), name, chain)
    }
}

fn parse_chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

fn authority(name: &str, not_after: UnixTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    set_validity(&mut params, (first(2020, 1), not_after));
    params
}

fn set_validity(params: &mut CertificateParams, (from, until): Validity) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from.as_secs());
    params.not_after = epoch + Duration::from_secs(until.as_secs());
}
