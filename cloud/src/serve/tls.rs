use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// How the server proves who it is, and encrypts: TLS 1.2 and 1.3 by rustls.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Why a certificate and a key cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, cannot be read, or has no such thing in it.
    #[error("cannot read {expected} from {}: {}", file.display(), describe(source))]
    File {
        /// Which file.
        file: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why it was not found.
        source: pem::Error,
    },
    /// The certificate and the key do not belong together, or rustls does not take one of them.
    #[error(
        "the certificate in {} and the key in {} cannot be used together: {source}",
        certificate.display(),
        key.display()
    )]
    Unfit {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads the certificate chain (the server's own first) and its private key from PEM files.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let unreadable = |file: &Path, expected| {
            let file = file.to_owned();
            move |source| TlsError::File { file, expected, source }
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .and_then(
                |chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) },
            )
            .map_err(unreadable(certificate, "a PEM certificate"))?;
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(unreadable(key, "a PEM private key"))?;
        let unfit = |source| TlsError::Unfit {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(unfit)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A device that comes back resumes from what it was given itself: the server keeps nothing
        // per device. One ticket will do for one connection.
        config.ticketer = ring::Ticketer::new().map_err(unfit)?;
        config.send_tls13_tickets = 1;
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.0.clone().into()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// The library's own words are for programmers, and may show a line of the file.
fn describe(error: &pem::Error) -> String {
    if let pem::Error::Io(error) = error {
        error.to_string()
    } else if matches!(error, pem::Error::NoItemsFound) {
        "there is none in it".into()
    } else {
        "it is not well-formed PEM".into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.key_pair.serialize_pem())
    }

    fn load(certificate: &str, key: &str) -> (Result<Tls, TlsError>, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let (certificate_file, key_file) =
            (folder.path().join("c.pem"), folder.path().join("k.pem"));
        fs::write(&certificate_file, certificate).unwrap();
        fs::write(&key_file, key).unwrap();
        let loaded = Tls::from_pem_files(&certificate_file, &key_file);
        (loaded, certificate_file.display().to_string(), key_file.display().to_string())
    }

    #[test]
    fn a_certificate_and_its_key_are_taken() {
        let (certificate, key) = pair();
        load(&certificate, &key).0.unwrap();
    }

    #[test]
    fn errors_name_the_file_and_what_should_be_in_it() {
        let (certificate, key) = pair();
        let (loaded, file, _) = load("", &key);
        assert_eq!(
            loaded.unwrap_err().to_string(),
            format!("cannot read a PEM certificate from {file}: there is none in it")
        );
        let (loaded, _, file) = load(&certificate, &certificate);
        assert_eq!(
            loaded.unwrap_err().to_string(),
            format!("cannot read a PEM private key from {file}: there is none in it")
        );
        let error = Tls::from_pem_files("/nowhere/c.pem", "/nowhere/k.pem").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read a PEM certificate from /nowhere/c.pem: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (loaded, certificate, key) = load(&pair().0, &pair().1);
        let error = loaded.unwrap_err();
        assert!(matches!(error, TlsError::Unfit { .. }), "{error}");
        assert!(error.to_string().contains(&certificate), "{error}");
        assert!(error.to_string().contains(&key), "{error}");
    }
}
