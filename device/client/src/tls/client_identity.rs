//! The client certificate that the device presents to a cloud that requests one.

use std::path::PathBuf;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;
use super::pem::{certificates, private_key};

/// PEM files with the device's certificate chain (its own certificate first) and private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The file with the chain.
    pub certificate: PathBuf,
    /// The file with the key.
    pub key: PathBuf,
}

impl Identity {
    /// Reads the chain and the key.
    pub(super) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        Ok((certificates(&self.certificate)?, private_key(&self.key)?))
    }
}
