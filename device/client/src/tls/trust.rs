//! The certificate authorities that the device trusts.

use std::path::PathBuf;

use rustls::RootCertStore;

use super::error::TlsError;
use super::pem::certificates;

/// The certificate authorities that may issue the cloud's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// The public ones that browsers trust, compiled into this program.
    #[default]
    Public,
    /// The public ones and those in this PEM file.
    PublicAnd(PathBuf),
    /// Only those in this PEM file.
    Only(PathBuf),
}

impl Trust {
    /// Reads the file, if there is one.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let file = match self {
            Self::Public => None,
            Self::PublicAnd(file) | Self::Only(file) => Some(file),
        };
        if !matches!(self, Self::Only(_)) {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(file) = file {
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|source| TlsError::Authority { file: file.clone(), source })?;
            }
        }
        Ok(roots)
    }
}
