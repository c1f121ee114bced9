//! Why TLS cannot be configured. Failed handshakes are not in here.

use std::path::PathBuf;

use rustls_pki_types::pem;

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file does not exist, cannot be read, or does not contain what is expected.
    #[error("cannot read {expected} from {}: {}", file.display(), describe_pem(source))]
    File {
        /// The file.
        file: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why it was not found.
        source: pem::Error,
    },
    /// A certificate cannot be used as a trust anchor.
    #[error("a certificate in {} cannot be used as an authority: it is malformed", file.display())]
    Authority {
        /// The file.
        file: PathBuf,
        /// The error from rustls.
        source: rustls::Error,
    },
    /// The device's certificate and key do not match, or rustls does not support one of them.
    #[error(
        "the certificate in {} and the key in {} cannot be used together: {}",
        certificate.display(),
        key.display(),
        describe_identity(source)
    )]
    Identity {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// The error from rustls.
        source: rustls::Error,
    },
    /// Any other configuration that rustls rejects.
    #[error("cannot configure TLS: {0}")]
    Setup(String),
}

/// The library's messages are meant for programmers.
fn describe_identity(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InconsistentKeys(_) => "they do not match",
        rustls::Error::InvalidCertificate(_) => "the certificate is malformed",
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
