//! Reads certificates and keys from PEM files, which are bounded.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;

/// The most that a file may have, in bytes: several times what all public authorities take.
const MAX_SIZE: u64 = 1024 * 1024;

/// The content of a file, which should be `expected`.
pub(super) struct PemFile {
    path: PathBuf,
    expected: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl PemFile {
    /// A file with certificates. Blocks on the disk.
    pub(super) fn of_certificates(path: &Path) -> Result<Self, TlsError> {
        Self::read(path, "a PEM certificate")
    }

    /// A file with a key. Blocks on the disk.
    pub(super) fn of_key(path: &Path) -> Result<Self, TlsError> {
        Self::read(path, "a PEM private key")
    }

    fn read(path: &Path, expected: &'static str) -> Result<Self, TlsError> {
        let mut this = Self { path: path.to_owned(), expected, bytes: Vec::new() };
        match read_bounded(path, &mut this.bytes) {
            Ok(()) => Ok(this),
            Err(error) => Err(this.error(pem::Error::Io(error))),
        }
    }

    /// All certificates in the file, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<Vec<_>, _>>()
            .and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) })
            .map_err(|source| self.error(source))
    }

    /// The first key in the file.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|source| self.error(source))
    }

    fn error(&self, source: pem::Error) -> TlsError {
        TlsError::file(&self.path, self.expected, source)
    }
}

fn read_bounded(path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    // Opening a named pipe would block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    file.take(MAX_SIZE + 1).read_to_end(bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(io::Error::other(format!("it is longer than {MAX_SIZE} bytes")));
    }
    Ok(())
}
