//! Which authorities may vouch for the cloud.

use std::path::PathBuf;

use rustls::RootCertStore;

use super::error::TlsError;
use super::pem::certificates;

/// Which authorities may vouch for the cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that browsers trust, as they are built into this program.
    #[default]
    Public,
    /// Those and the ones in this PEM file.
    PublicAnd(PathBuf),
    /// Only the ones in this PEM file.
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
