//! Why TLS cannot be set up.

use std::path::PathBuf;

use rustls_pki_types::pem;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, cannot be read, or has no such thing in it.
    #[error("cannot read {expected} from {}: {}", file.display(), describe_pem(source))]
    File {
        /// Which file.
        file: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why it was not found.
        source: pem::Error,
    },
    /// A certificate cannot serve as an authority's.
    #[error("a certificate in {} cannot serve as an authority's: {source}", file.display())]
    Authority {
        /// Which file.
        file: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The device's certificate and key do not belong together, or rustls does not take one.
    #[error(
        "the certificate in {} and the key in {} cannot be used together: {source}",
        certificate.display(),
        key.display()
    )]
    Identity {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// Anything else that rustls does not take.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The library's own words are for programmers, and may show a line of the file.
fn describe_pem(error: &pem::Error) -> String {
    if let pem::Error::Io(error) = error {
        error.to_string()
    } else if matches!(error, pem::Error::NoItemsFound) {
        "there is none in it".into()
    } else {
        "it is not well-formed PEM".into()
    }
}
