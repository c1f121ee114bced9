//! Why TLS cannot be configured. Failed handshakes are not in here.

use std::error::Error;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem;

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file does not exist, cannot be read, or does not contain what is expected.
    #[error("cannot read {expected} from {}: {reason}", file.display())]
    #[non_exhaustive]
    File {
        /// The file.
        file: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why it was not found.
        reason: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A certificate cannot be used as a trust anchor.
    #[error("a certificate in {} cannot be used as an authority: it is malformed", file.display())]
    #[non_exhaustive]
    Authority {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// This program was built without the public authorities, and no file has others.
    #[error("a file with authorities is needed, as this program was built without the public ones")]
    NoAuthorities,
    /// The device's certificate and key do not match, or one of them is not supported.
    #[error(
        "the certificate in {} and the key in {} cannot be used together: {reason}",
        certificate.display(),
        key.display()
    )]
    #[non_exhaustive]
    Identity {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// Why not.
        reason: &'static str,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Any other configuration that is rejected.
    #[error("cannot configure TLS: {0}")]
    Setup(String),
}

impl TlsError {
    pub(super) fn file(file: &Path, expected: &'static str, source: pem::Error) -> Self {
        let (file, reason) = (file.to_owned(), describe_pem(&source));
        Self::File { file, expected, reason, source: source.into() }
    }

    pub(super) fn authority(file: &Path, source: rustls::Error) -> Self {
        Self::Authority { file: file.to_owned(), source: source.into() }
    }

    pub(super) fn identity(certificate: &Path, key: &Path, source: rustls::Error) -> Self {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Self::Identity {
            certificate,
            key,
            reason: describe_identity(&source),
            source: source.into(),
        }
    }
}

/// The library's messages are meant for programmers.
fn describe_identity(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InconsistentKeys(_) => "they do not match",
        rustls::Error::InvalidCertificate(_) => {
            "the certificate is malformed, or is not of X.509 version 3"
        }
        _ => {
            "keys may be of P-256, P-384, Ed25519, or RSA from 2048 bits, in PKCS #8 or as OpenSSL writes them"
        }
    }
}

/// The library's messages are meant for programmers, and may quote a line of the file.
fn describe_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "the file contains none".into(),
        _ => "not valid PEM".into(),
    }
}
