//! The certificate authorities that the device trusts.

use std::path::PathBuf;

use rustls::RootCertStore;

use super::error::TlsError;
use super::pem::PemFile;

/// The certificate authorities that may issue the cloud's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// The public ones that browsers trust, compiled into this program with the feature `public-authorities`.
    /// Without that feature there are none, and a `wss://` URL is refused with
    /// [`TlsError::NoAuthorities`](crate::error::TlsError::NoAuthorities).
    #[default]
    Public,
    /// The public ones and those in this PEM file. Without the feature `public-authorities`, only the latter.
    PublicAnd(PathBuf),
    /// Only those in this PEM file.
    Only(PathBuf),
}

impl Trust {
    /// The file with authorities, if there is one.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Public => None,
            Self::PublicAnd(file) | Self::Only(file) => Some(file),
        }
    }

    /// The authorities, with those in the content of [`Trust::file`].
    pub(super) fn roots(&self, content: Option<&PemFile>) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        #[cfg(feature = "public-authorities")]
        if !matches!(self, Self::Only(_)) {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let (Some(file), Some(content)) = (self.file(), content) {
            for certificate in content.certificates()? {
                roots.add(certificate).map_err(|source| TlsError::authority(file, source))?;
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
        Ok(roots)
    }
}

#[cfg(all(test, not(feature = "public-authorities")))]
mod tests {
    use super::*;

    #[test]
    fn without_public_authorities_a_file_is_needed() {
        let error = Trust::Public.roots(None).unwrap_err();
        assert!(matches!(error, TlsError::NoAuthorities), "{error}");
    }
}
