//! Why a certificate and a key cannot be used, in sentences that say what to do. What clients think of a usable
//! certificate is in `chain.rs`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are of other crates, and a new variant needs no decision here"
)]

use std::error::Error as StdError;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use fedecks_common::explain_open_error;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or does not contain what is expected.
    #[error("cannot read {expected} from {}: {reason}", file.display())]
    #[non_exhaustive]
    File {
        /// The file.
        file: PathBuf,
        /// What it should contain.
        expected: &'static str,
        /// Why not, and what was found instead.
        reason: String,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The certificate and the key do not belong together, or one of them cannot be used.
    #[error(
        "the certificate in {} and the key in {} cannot be used together: {reason}",
        certificate.display(),
        key.display()
    )]
    #[non_exhaustive]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl TlsError {
    /// Whether the key's file is at fault. Otherwise it is the certificate's, or that they do not belong together.
    pub fn is_about_key(&self) -> bool {
        matches!(self, Self::File { expected, .. } if *expected == PRIVATE_KEY)
    }

    /// The file of the certificate revocation list, or of the authorities of clients, if that is at fault.
    pub fn client_file(&self) -> Option<&Path> {
        match self {
            Self::File { file, expected, .. } if [CRL, AUTHORITIES].contains(expected) => {
                Some(file)
            }
            _ => None,
        }
    }

    /// The file was read, but this is wrong with it.
    pub(crate) fn other(file: &Path, expected: &'static str, reason: String) -> Self {
        let source = reason.clone().into();
        Self::File { file: file.to_owned(), expected, reason, source }
    }

    pub(crate) fn file(file: &Path, expected: &'static str, source: pem::Error) -> Self {
        let (file, reason) = (file.to_owned(), describe(&source, file));
        Self::File { file, expected, reason, source: source.into() }
    }
}

const PRIVATE_KEY: &str = "a PEM private key";

/// The certificates that issue those of clients.
pub(crate) const AUTHORITIES: &str = "PEM certificates of client authorities";

/// Certificates that were revoked.
pub(crate) const CRL: &str = "a certificate revocation list (PEM or DER)";

/// The first private key of a PEM file.
pub(crate) fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| TlsError::file(file, PRIVATE_KEY, error))
}

/// All certificates of a PEM file, at least one.
pub(crate) fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    read_certificates(file, "a PEM certificate")
}

/// The same, of a file that should contain what is `expected`.
pub(crate) fn read_certificates(
    file: &Path,
    expected: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(|error| TlsError::file(file, expected, error))
}

/// What is wrong with a certificate chain and a key that rustls rejected.
pub(crate) fn reason(
    error: &Error,
    chain: &[CertificateDer<'_>],
    key: &PrivateKeyDer<'_>,
) -> String {
    let Ok(key) = any_supported_type(key) else {
        return "the key is of a type that is not supported; make one for ECDSA P-256, or Ed25519 or RSA with \
                2048 to 4096 bits"
            .into();
    };
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let belongs = |certificate: &CertificateDer<'_>| {
                let chain = vec![certificate.clone().into_owned()];
                CertifiedKey::new(chain, key.clone()).keys_match().is_ok()
            };
            match chain.iter().position(belongs) {
                Some(index) => format!(
                    "the key belongs to certificate {} of the file; the server's own has to be the first, \
                     followed by the one that issued it",
                    index + 1
                ),
                None => {
                    "the key belongs to another certificate; use the key that this certificate was \
                         requested with"
                        .into()
                }
            }
        }
        Error::InvalidCertificate(_) => {
            format!("the first certificate of the file is damaged or of an old version ({error})")
        }
        error => error.to_string(),
    }
}

/// The library's own messages are for programmers and may show a line of the file.
fn describe(error: &pem::Error, file: &Path) -> String {
    match error {
        pem::Error::Io(error) => explain_open_error(error, file, "read"),
        pem::Error::NoItemsFound => match other_content(file) {
            Some(found) => format!("the file contains none, but {found}"),
            None => "the file contains none".into(),
        },
        _ => "invalid PEM".into(),
    }
}

/// How much of a file is searched for other content, in bytes.
const SEARCHED: u64 = 64 * 1024;

/// What people mistake for a key or a certificate in PEM.
fn other_content(file: &Path) -> Option<&'static str> {
    let mut start = Vec::new();
    File::open(file).ok()?.take(SEARCHED).read_to_end(&mut start).ok()?;
    let contains = |text: &str| start.windows(text.len()).any(|part| part == text.as_bytes());
    if contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains("Proc-Type: 4,ENCRYPTED") {
        Some(
            "a key that is encrypted with a passphrase; `openssl pkey -in FILE -out NEW` decrypts it",
        )
    } else if contains("-----BEGIN CERTIFICATE REQUEST-----") {
        Some("a request for a certificate; the authority returns the certificate itself")
    } else if contains("-----BEGIN CERTIFICATE-----") {
        Some("certificates")
    } else if contains("PRIVATE KEY-----") {
        Some("a private key")
    } else if start.first() == Some(&0x30) {
        Some("binary data, perhaps DER or PKCS #12; `openssl` converts it to PEM")
    } else {
        None
    }
}
