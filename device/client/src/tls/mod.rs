//! How the device makes sure that it talks to its cloud: TLS 1.2 and 1.3 by rustls.

mod client_identity;
mod error;
mod pem;
mod trust;
pub(crate) mod trusted_time;
pub(crate) mod verifier;

use std::fmt;
use std::io;
use std::sync::Arc;

use fedecks_common::utc;
use rustls::client::{Resumption, Tls12Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use client_identity::Identity;
pub use error::TlsError;
pub use trust::Trust;
pub(crate) use trusted_time::{Judged, TrustedTime};
use verifier::TimedVerifier;
pub(crate) use verifier::VerifiedPeer;

/// Whom to trust and how to answer when the cloud asks who the device is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Which authorities may vouch for the cloud.
    pub trust: Trust,
    /// Certificate chain and key of the device, for clouds that ask for one.
    pub identity: Option<Identity>,
}

/// Connects by TLS and verifies by the rules of [`trusted_time`].
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    verifier: Arc<TimedVerifier>,
}

impl Tls {
    /// Reads the files that `options` names.
    pub(crate) fn new(options: &TlsOptions, time: TrustedTime) -> Result<Self, TlsError> {
        let roots = Arc::new(options.trust.roots()?);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let verifier = Arc::new(TimedVerifier::new(verifier, time));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?
            // Not instead of verification: rustls's own, at a time of our choice.
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder.with_client_auth_cert(chain, key).map_err(|source| {
                    let Identity { certificate, key } = identity.clone();
                    TlsError::Identity { certificate, key, source }
                })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // In memory only, and there is one cloud. Not by TLS 1.2, whose sessions may have no end.
        config.resumption =
            Resumption::in_memory_sessions(4).tls12_resumption(Tls12Resumption::Disabled);
        Ok(Self { config: Arc::new(config), verifier })
    }

    /// The handshake. The error is for people.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        name: &ServerName<'static>,
        tcp: S,
    ) -> Result<(TlsStream<S>, VerifiedPeer), String> {
        let connector = TlsConnector::from(self.config.clone());
        let stream = connector
            .connect(name.clone(), tcp)
            .await
            .map_err(|error| self.explain(&error, name))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        Ok((stream, VerifiedPeer::new(self.verifier.clone(), name.clone(), chain)))
    }

    fn explain(&self, error: &io::Error, name: &ServerName<'_>) -> String {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        else {
            return error.to_string();
        };
        let name = name.to_str();
        if let rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            time,
            not_after,
        }) = error
        {
            self.explain_expired(&name, *time, *not_after)
        } else if *error == CertificateError::UnknownIssuer.into() {
            format!("no authority that this device trusts vouches for the certificate of {name}")
        } else {
            error.to_string()
        }
    }

    fn explain_expired(&self, name: &str, time: UnixTime, not_after: UnixTime) -> String {
        let judged = self.verifier.time().judge();
        let expired = format!("a certificate of {name} expired on {}", utc(not_after.as_secs()));
        let clock = utc(judged.clock.as_secs());
        if judged.clock == time {
            format!(
                "{expired} and this device's clock says {clock}: either the certificate has to be \
                 renewed, or the clock is ahead and has to be set, by NTP for example"
            )
        } else {
            format!(
                "{expired} and it is {} or later, although this device's clock says {clock}: \
                 the certificate has to be renewed",
                utc(time.as_secs())
            )
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use rustls::server::WebPkiClientVerifier;
    use rustls::{HandshakeKind, RootCertStore, ServerConfig};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use tempfile::{TempDir, tempdir};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::trusted_time::testing::{first, trusted_time};
    use super::verifier::testing::Authority;
    use super::*;

    fn epoch() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::ZERO)
    }

    struct Cloud {
        folder: TempDir,
        authority: Authority,
        config: Arc<ServerConfig>,
    }

    impl Cloud {
        /// A cloud whose certificate, for 127.0.0.1, is valid in 2026.
        fn new() -> Self {
            let folder = tempdir().unwrap();
            let authority = Authority::new();
            fs::write(folder.path().join("ca.pem"), authority.root_pem()).unwrap();
            let (chain, key) = authority.issue("127.0.0.1", first(2026, 1), first(2027, 1));
            let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            Self { folder, authority, config: Arc::new(config) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn time(&self, build: UnixTime, clock: UnixTime) -> TrustedTime {
            trusted_time(build, clock, self.folder.path())
        }

        /// A device that trusts this cloud's authority only.
        fn device(&self, build: UnixTime, clock: UnixTime) -> Tls {
            let trust = Trust::Only(self.path("ca.pem"));
            let options = TlsOptions { trust, identity: None };
            Tls::new(&options, self.time(build, clock)).unwrap()
        }

        /// Connects and has one byte echoed.
        async fn meet(
            &self,
            device: &Tls,
            name: &str,
        ) -> Result<(VerifiedPeer, HandshakeKind), String> {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let acceptor = TlsAcceptor::from(self.config.clone());
            let echo = tokio::spawn(async move {
                let (tcp, _) = listener.accept().await.unwrap();
                // The other end says why, if it doesn't like this one.
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                if let Ok(byte) = stream.read_u8().await {
                    stream.write_u8(byte).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            });
            let tcp = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let result = device.connect(&name, tcp).await;
            let peer = match result {
                Ok((mut stream, peer)) => {
                    stream.write_u8(7).await.map_err(|error| error.to_string())?;
                    let echoed = stream.read_u8().await;
                    assert_eq!(echoed.map_err(|error| error.to_string())?, 7);
                    Ok((peer, stream.get_ref().1.handshake_kind().unwrap()))
                }
                Err(error) => Err(error),
            };
            echo.await.unwrap();
            peer
        }
    }

    #[tokio::test]
    async fn a_device_in_1970_reaches_its_cloud_and_learns_the_time_from_it() {
        let cloud = Cloud::new();
        let time = cloud.time(first(2024, 11), epoch());
        let options = TlsOptions { trust: Trust::Only(cloud.path("ca.pem")), identity: None };
        let device = Tls::new(&options, time.clone()).unwrap();
        let (peer, kind) = cloud.meet(&device, "127.0.0.1").await.unwrap();
        assert_eq!(kind, HandshakeKind::Full);
        assert!(time.observe(first(2026, 5).as_secs() * 1_000, |at| peer.latest_valid(at)));
        assert_eq!(time.floor(), first(2026, 5));
        // A resumed session still knows whom it talks to.
        let (peer, kind) = cloud.meet(&device, "127.0.0.1").await.unwrap();
        assert_eq!(kind, HandshakeKind::Resumed);
        assert!(time.observe(first(2026, 6).as_secs() * 1_000, |at| peer.latest_valid(at)));
        assert_eq!(time.floor(), first(2026, 6));
    }

    #[tokio::test]
    async fn an_expired_certificate_is_refused_with_the_clock_and_the_end_named() {
        let cloud = Cloud::new();
        let error = cloud
            .meet(&cloud.device(first(2026, 2), first(2030, 3)), "127.0.0.1")
            .await
            .unwrap_err();
        assert_eq!(
            error,
            "a certificate of 127.0.0.1 expired on 2027-01-01T12:00:00Z and this device's clock \
             says 2030-03-01T12:00:00Z: either the certificate has to be renewed, or the clock \
             is ahead and has to be set, by NTP for example"
        );
        let error =
            cloud.meet(&cloud.device(first(2027, 2), epoch()), "127.0.0.1").await.unwrap_err();
        assert_eq!(
            error,
            "a certificate of 127.0.0.1 expired on 2027-01-01T12:00:00Z and it is 2027-02-01T12:00:00Z \
             or later, although this device's clock says 1970-01-01T00:00:00Z: the \
             certificate has to be renewed"
        );
    }

    #[tokio::test]
    async fn a_wrong_name_and_a_foreign_authority_are_refused() {
        let cloud = Cloud::new();
        let device = cloud.device(first(2026, 2), first(2026, 3));
        let error = cloud.meet(&device, "cloud.test").await.unwrap_err();
        assert!(error.contains("not valid for name"), "{error}");

        let public = Tls::new(&TlsOptions::default(), cloud.time(first(2026, 2), first(2026, 3)));
        let error = cloud.meet(&public.unwrap(), "127.0.0.1").await.unwrap_err();
        assert_eq!(
            error,
            "no authority that this device trusts vouches for the certificate of 127.0.0.1"
        );
    }

    #[tokio::test]
    async fn an_additional_authority_is_trusted_beside_the_public_ones() {
        let cloud = Cloud::new();
        let trust = Trust::PublicAnd(cloud.path("ca.pem"));
        assert!(trust.roots().unwrap().len() > 100);
        assert_eq!(Trust::Only(cloud.path("ca.pem")).roots().unwrap().len(), 1);
        let options = TlsOptions { trust, identity: None };
        let device = Tls::new(&options, cloud.time(first(2026, 2), first(2026, 3))).unwrap();
        cloud.meet(&device, "127.0.0.1").await.unwrap();
    }

    #[tokio::test]
    async fn a_cloud_that_asks_for_the_devices_certificate_gets_it() {
        let mut cloud = Cloud::new();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(cloud.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let (chain, key) = cloud.authority.issue("127.0.0.1", first(2020, 1), first(2080, 1));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        cloud.config = Arc::new(config);

        let (certificate, key) = (cloud.path("device.pem"), cloud.path("device.key"));
        let (chain, private) =
            cloud.authority.issue_pem("nerves-242a", first(2020, 1), first(2080, 1));
        fs::write(&certificate, chain).unwrap();
        fs::write(&key, private).unwrap();
        let options = TlsOptions {
            trust: Trust::Only(cloud.path("ca.pem")),
            identity: Some(Identity { certificate, key }),
        };
        let device = Tls::new(&options, cloud.time(first(2026, 2), first(2026, 3))).unwrap();
        cloud.meet(&device, "127.0.0.1").await.unwrap();

        let anonymous = cloud.device(first(2026, 2), first(2026, 3));
        let error = cloud.meet(&anonymous, "127.0.0.1").await.unwrap_err();
        assert!(error.contains("CertificateRequired"), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_what_should_be_in_it() {
        let cloud = Cloud::new();
        let empty = cloud.path("empty.pem");
        fs::write(&empty, "").unwrap();
        let fails = |options: &TlsOptions| {
            Tls::new(options, cloud.time(first(2026, 2), epoch())).unwrap_err().to_string()
        };
        let only = |file: &Path| TlsOptions { trust: Trust::Only(file.into()), identity: None };
        assert_eq!(
            fails(&only(&empty)),
            format!("cannot read a PEM certificate from {}: there is none in it", empty.display())
        );
        assert_eq!(
            fails(&only(Path::new("/nowhere/ca.pem"))),
            "cannot read a PEM certificate from /nowhere/ca.pem: No such file or directory (os \
             error 2)"
        );
        let (chain, key) = cloud.authority.issue_pem("a", first(2020, 1), first(2080, 1));
        let (_, other_key) = cloud.authority.issue_pem("b", first(2020, 1), first(2080, 1));
        let identity = Identity { certificate: cloud.path("c.pem"), key: cloud.path("k.pem") };
        fs::write(&identity.certificate, chain).unwrap();
        let options = TlsOptions { identity: Some(identity.clone()), ..TlsOptions::default() };
        fs::write(&identity.key, "nothing").unwrap();
        assert_eq!(
            fails(&options),
            format!(
                "cannot read a PEM private key from {}: there is none in it",
                identity.key.display()
            )
        );
        fs::write(&identity.key, other_key).unwrap();
        let error = fails(&options);
        assert!(error.contains("cannot be used together"), "{error}");
        fs::write(&identity.key, key).unwrap();
        Tls::new(&options, cloud.time(first(2026, 2), epoch())).unwrap();
    }
}
