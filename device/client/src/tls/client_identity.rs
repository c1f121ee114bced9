//! The client certificate that the device presents to a cloud that requests one.

use std::path::PathBuf;

/// PEM files with the device's certificate chain (its own certificate first) and private key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The file with the chain.
    pub certificate: PathBuf,
    /// The file with the key.
    pub key: PathBuf,
}

impl Identity {
    /// The files with the chain and the key.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }
}
