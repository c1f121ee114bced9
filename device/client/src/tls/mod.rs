//! TLS 1.2 and 1.3 by rustls: how the device authenticates its cloud, and itself if asked.

mod client_identity;
mod error;
mod explain;
mod files;
mod options;
mod pem;
mod trust;
pub(crate) mod trusted_time;
pub(crate) mod verifier;

use std::fmt;
use std::io;
use std::sync::Arc;

use fedecks_common::utc;
use rustls::{CertificateError, Error};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use client_identity::Identity;
pub use error::TlsError;
pub(crate) use explain::explain_late;
use files::{Configured, TlsFiles};
pub use options::TlsOptions;
pub use trust::Trust;
pub(crate) use trusted_time::{TrustedTime, VerificationTime};
pub(crate) use verifier::VerifiedPeer;

/// Performs TLS handshakes, with certificate verification by the rules of [`trusted_time`].
#[derive(Clone)]
pub(crate) struct Tls {
    files: Arc<TlsFiles>,
    time: TrustedTime,
}

impl Tls {
    /// Reads the files that `options` names. They are read again before each handshake.
    pub(crate) fn new(options: &TlsOptions, time: TrustedTime) -> Result<Self, TlsError> {
        let files = Arc::new(TlsFiles::new(options.clone(), time.clone())?);
        Ok(Self { files, time })
    }

    /// Performs the handshake. The error is a human-readable sentence.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        name: &ServerName<'static>,
        tcp: S,
    ) -> Result<(TlsStream<S>, VerifiedPeer), String> {
        let Configured { config, verifier } = self.files.current().await;
        let stream = TlsConnector::from(config)
            .connect(name.clone(), tcp)
            .await
            .map_err(|error| self.explain(&error, &name.to_str(), verifier.is_alone()))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        Ok((stream, VerifiedPeer::new(verifier, name.clone(), chain)))
    }

    fn explain(&self, error: &io::Error, name: &str, is_alone: bool) -> String {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(Error::InvalidCertificate(CertificateError::ExpiredContext {
                time,
                not_after,
            })) => self.explain_expired(name, *time, *not_after),
            _ => explain::explain(error, name, is_alone),
        }
    }

    fn explain_expired(&self, name: &str, time: UnixTime, not_after: UnixTime) -> String {
        let clock = self.time.verification_time().clock;
        let expired = format!("a certificate of {name} expired at {}", utc(not_after.as_secs()));
        let clock_shows = format!("this device's clock shows {}", utc(clock.as_secs()));
        if clock == time {
            format!(
                "{expired}; {clock_shows}: renew the certificate, or set the clock if it is ahead, by \
                 NTP for example"
            )
        } else {
            let now = utc(time.as_secs());
            format!("{expired}; {clock_shows}, but it is at least {now}: renew the certificate")
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

    use rcgen::KeyPair;
    use rustls::HandshakeKind;
    use rustls::crypto::ring;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::testing::{Cloud, epoch, first, server_config, trusted_time, year_2026};

    type Connected = (VerifiedPeer, HandshakeKind);

    const NAME: &str = "127.0.0.1";

    /// A device with these options in March 2026.
    fn device(cloud: &Cloud, options: &TlsOptions) -> Tls {
        let time = trusted_time(first(2026, 2), first(2026, 3), &cloud.directory);
        Tls::new(options, time).unwrap()
    }

    /// A device built at `build` whose clock shows `clock`.
    fn device_at(cloud: &Cloud, build: UnixTime, clock: UnixTime) -> (Tls, TrustedTime) {
        let time = trusted_time(build, clock, &cloud.directory);
        (Tls::new(&cloud.options(), time.clone()).unwrap(), time)
    }

    /// Connects to the cloud by this name and has one byte echoed.
    async fn connect(cloud: &Cloud, device: &Tls, name: &str) -> Result<Connected, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let echo = async {
            // A refusal is reported at the device's end.
            let mut stream = TlsAcceptor::from(cloud.config.clone()).accept(accepted).await?;
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await.unwrap();
            stream.shutdown().await
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connected = async {
            let (mut stream, peer) = device.connect(&name, tcp).await?;
            stream.write_u8(7).await.map_err(|error| explain_late(&error))?;
            assert_eq!(stream.read_u8().await.map_err(|error| explain_late(&error))?, 7);
            Ok((peer, stream.get_ref().1.handshake_kind().unwrap()))
        };
        tokio::join!(connected, echo).0
    }

    async fn refusal(cloud: &Cloud, device: &Tls, name: &str) -> String {
        connect(cloud, device, name).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_device_in_1970_connects_and_learns_the_time() {
        let cloud = Cloud::new(NAME);
        let (device, time) = device_at(&cloud, first(2024, 11), epoch());
        // A resumed session still knows its peer.
        for (month, expected) in [(5, HandshakeKind::Full), (6, HandshakeKind::Resumed)] {
            let (peer, kind) = connect(&cloud, &device, NAME).await.unwrap();
            assert_eq!(kind, expected);
            let claimed = first(2026, month);
            assert!(time.observe(claimed.as_secs() * 1_000, |at| peer.latest_valid(at)));
            assert_eq!(time.floor(), claimed);
        }
    }

    #[tokio::test]
    async fn an_expired_certificate_is_refused_with_both_times() {
        let cloud = Cloud::new(NAME);
        for (build, clock, explained) in [
            (
                first(2026, 2),
                first(2030, 3),
                "this device's clock shows 2030-03-01T12:00:00Z: renew the certificate, or set the \
                 clock if it is ahead, by NTP for example",
            ),
            (
                first(2027, 2),
                epoch(),
                "this device's clock shows 1970-01-01T00:00:00Z, but it is at least \
                 2027-02-01T12:00:00Z: renew the certificate",
            ),
        ] {
            let (device, _) = device_at(&cloud, build, clock);
            let expired = "a certificate of 127.0.0.1 expired at 2027-01-01T12:00:00Z";
            let error = refusal(&cloud, &device, NAME).await;
            assert_eq!(error, format!("{expired}; {explained}"));
        }
    }

    #[tokio::test]
    async fn a_certificate_needs_the_right_name_and_a_trusted_authority() {
        let cloud = Cloud::new(NAME);
        let error = refusal(&cloud, &device(&cloud, &cloud.options()), "cloud.test").await;
        assert_eq!(
            error,
            "the certificate is not for cloud.test, only for 127.0.0.1: correct the url or the certificate"
        );
        #[cfg(feature = "public-authorities")]
        assert_eq!(
            refusal(&cloud, &device(&cloud, &TlsOptions::default()), NAME).await,
            "the certificate of 127.0.0.1 was not issued by an authority that this device trusts; its authority is \
             missing in ca_file, or the server's chain is incomplete"
        );
        let roots = |trust: &Trust| {
            let file = pem::PemFile::of_certificates(&cloud.path("ca.pem")).unwrap();
            trust.roots(Some(&file)).unwrap().len()
        };
        assert_eq!(roots(&cloud.options().trust), 1);
        let trust = Trust::PublicAnd(cloud.path("ca.pem"));
        assert_eq!(roots(&trust) > 100, cfg!(feature = "public-authorities"));
        let device = device(&cloud, &TlsOptions { trust, identity: None });
        connect(&cloud, &device, NAME).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_certificate_is_presented_on_request() {
        let mut cloud = Cloud::new(NAME);
        let (roots, provider) = (cloud.authority.roots(), Arc::new(ring::default_provider()));
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let validity = (first(2020, 1), first(2080, 1));
        let issued = cloud.authority.issue(NAME, validity);
        cloud.config = server_config(verifier.build().unwrap(), issued);

        let (certificate, key) = (cloud.path("device.pem"), cloud.path("device.key"));
        let (chain, private) = cloud.authority.issue("nerves-242a", validity);
        fs::write(&certificate, chain).unwrap();
        fs::write(&key, private).unwrap();
        let identity = Some(Identity { certificate, key });
        let identified = device(&cloud, &TlsOptions { identity, ..cloud.options() });
        connect(&cloud, &identified, NAME).await.unwrap();

        let error = refusal(&cloud, &device(&cloud, &cloud.options()), NAME).await;
        assert!(error.contains("the server requires a client certificate"), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_what_should_be_in_it() {
        let cloud = Cloud::new(NAME);
        let time = trusted_time(first(2026, 2), epoch(), &cloud.directory);
        let error = |options: &TlsOptions| Tls::new(options, time.clone()).unwrap_err().to_string();
        let (empty, missing) = (cloud.path("empty.pem"), cloud.path("missing.pem"));
        fs::write(&empty, "").unwrap();
        let none = "the file contains none";
        for (file, problem) in [(empty, none), (missing, "No such file or directory (os error 2)")]
        {
            let expected =
                format!("cannot read a PEM certificate from {}: {problem}", file.display());
            let trust = Trust::Only(file);
            assert_eq!(error(&TlsOptions { trust, identity: None }), expected);
        }
        let (chain, key) = cloud.authority.issue("a", year_2026());
        let (_, other_key) = cloud.authority.issue("b", year_2026());
        let identity = Identity { certificate: cloud.path("c.pem"), key: cloud.path("k.pem") };
        fs::write(&identity.certificate, chain).unwrap();
        let key_file = identity.key.clone();
        let options = TlsOptions { identity: Some(identity), ..cloud.options() };
        fs::write(&key_file, "nothing").unwrap();
        let expected = format!("cannot read a PEM private key from {}: {none}", key_file.display());
        assert_eq!(error(&options), expected);
        fs::write(&key_file, other_key).unwrap();
        let mismatch = error(&options);
        assert!(mismatch.ends_with("cannot be used together: they do not match"), "{mismatch}");
        let unsupported = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = unsupported.serialize_pem().replace("PRIVATE KEY", "EC PRIVATE KEY");
        fs::write(&key_file, pem).unwrap();
        let unsupported = error(&options);
        assert!(unsupported.contains("keys may be of P-256"), "{unsupported}");
        let pipe = cloud.path("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let (long, endless) = (cloud.path("long.pem"), "/dev/zero".into());
        fs::write(&long, vec![b'\n'; 1024 * 1024 + 1]).unwrap();
        let too_long = "it is longer than 1048576 bytes";
        for (file, problem) in [(pipe, none), (long, too_long), (endless, too_long)] {
            let options = TlsOptions { trust: Trust::Only(file), identity: None };
            assert!(error(&options).ends_with(problem), "{}", error(&options));
        }
        fs::write(&key_file, key).unwrap();
        Tls::new(&options, time.clone()).unwrap();
    }

    #[test]
    fn an_odd_client_certificate_is_explained_in_a_sentence() {
        // As OpenSSL 3.0 makes it without extensions.
        const VERSION_1: &str = "\
            -----BEGIN CERTIFICATE-----\n\
            MIIBFTCBuwIUHqCPJQoJmR19yQNn/EDJ6MH9dFgwCgYIKoZIzj0EAwIwDDEKMAgG\n\
            A1UEAwwBZDAgFw0yNjExMjgxNTU1NDlaGA8yMTI2MTEwNDE1NTU0OVowDDEKMAgG\n\
            A1UEAwwBZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKKNnB1suRYYygGqwOxc\n\
            8B2g7Q+17fD7AO6Issc945ob4UmbXVFAajy2Dmg6NDEswnjaD+3hNx+cLfo7jrQy\n\
            vEswCgYIKoZIzj0EAwIDSQAwRgIhAMawgvXT/weSQ8+cZ+7nnkUBsSBWUyxXKU4I\n\
            nERfPHi5AiEAuG+ru1Ql3hk8MjkzQObBNsRhhAT2g4NW+Vt0x2t8IUw=\n\
            -----END CERTIFICATE-----\n";
        let cloud = Cloud::new(NAME);
        let time = trusted_time(first(2026, 2), epoch(), &cloud.directory);
        let identity = Identity::new(cloud.path("c.pem"), cloud.path("k.pem"));
        let (chain, key) = cloud.authority.issue("a", year_2026());
        fs::write(&identity.key, key).unwrap();
        let options = TlsOptions { identity: Some(identity.clone()), ..cloud.options() };
        let (own, authority) = chain.split_at(chain.rfind("-----BEGIN").unwrap());
        let pem = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        let malformed = "the certificate is malformed, or is not of X.509 version 3";
        for (file, expected) in [
            (pem("AAAA"), malformed),
            (pem("MIIB"), malformed),
            (VERSION_1.to_owned(), malformed),
            (format!("{authority}{own}"), "they do not match"),
            (pem("not base64!"), "not valid PEM"),
            (own.replace("CERTIFICATE", "CERTIFICATE REQUEST"), "the file contains none"),
        ] {
            fs::write(&identity.certificate, &file).unwrap();
            let error = Tls::new(&options, time.clone()).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
            assert!(error.contains("c.pem") && !error.contains(['{', '(', '\n']), "{error}");
        }
        fs::write(&identity.certificate, chain).unwrap();
        Tls::new(&options, time).unwrap();
    }
}
