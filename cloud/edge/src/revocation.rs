//! Certificate revocation lists: what they revoke, and until when they are good.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ring::digest::{SHA256, digest};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, Encode};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

use crate::tls_error::{CRL, TlsError};

/// The largest file of lists that is read, in bytes: a million revoked certificates.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Which certificate: a part of the SHA-256 of its issuer and serial number.
pub(crate) type RevocationId = [u8; 16];

/// The lists of a listener.
#[derive(Default)]
pub(crate) struct RevocationLists {
    revoked: HashSet<RevocationId>,
    issuers: Vec<ListedIssuer>,
}

/// Who has issued a list.
pub(crate) struct ListedIssuer {
    /// In DER.
    issuer: Vec<u8>,
    /// For people.
    pub(crate) name: String,
    /// When the next list is due, in seconds since 1970-01-01 UTC; `None` if the list does not say.
    pub(crate) next_update: Option<u64>,
    this_update: u64,
}

/// A list as it was read.
type Parsed = CertificateList;

impl RevocationLists {
    /// Reads all lists of the files. Returns them for the verifier too, those of an issuer with the newest first.
    pub(crate) fn read<P: AsRef<Path>>(
        files: &[P],
    ) -> Result<(Self, Vec<CertificateRevocationListDer<'static>>), TlsError> {
        let mut read = Vec::new();
        for file in files.iter().map(AsRef::as_ref) {
            for list in read_file(file)? {
                let parsed = Parsed::from_der(&list).map_err(|error| {
                    TlsError::other(file, CRL, format!("it cannot be parsed ({error})"))
                })?;
                read.push((list, parsed));
            }
        }
        read.sort_by_key(|(_, parsed)| std::cmp::Reverse(this_update(parsed)));
        let mut lists = Self::default();
        for (_, parsed) in &read {
            lists.add(parsed);
        }
        Ok((lists, read.into_iter().map(|(list, _)| list).collect()))
    }

    fn add(&mut self, parsed: &Parsed) {
        let list = &parsed.tbs_cert_list;
        let issuer = encoded(&list.issuer);
        for revoked in list.revoked_certificates.iter().flatten() {
            self.revoked.insert(revocation_id(&issuer, &revoked.serial_number));
        }
        let (name, this_update) = (list.issuer.to_string(), this_update(parsed));
        let next_update = list.next_update.map(|time| time.to_unix_duration().as_secs());
        // Sorted, so that the first of an issuer is its newest.
        if self.issuers.iter().all(|known| known.issuer != issuer) {
            self.issuers.push(ListedIssuer { issuer, name, next_update, this_update });
        }
    }

    /// Whether any of these certificates is revoked.
    pub(crate) fn revoke(&self, ids: &[RevocationId]) -> bool {
        ids.iter().any(|id| self.revoked.contains(id))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The newest list of the issuer with this name in DER.
    pub(crate) fn of(&self, issuer: &[u8]) -> Option<&ListedIssuer> {
        self.issuers.iter().find(|known| known.issuer == issuer)
    }

    pub(crate) fn issuers(&self) -> &[ListedIssuer] {
        &self.issuers
    }
}

impl ListedIssuer {
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.next_update.is_some_and(|next| next <= now)
    }

    /// A list from the future was issued by a clock that is ahead, or ours is behind.
    pub(crate) fn is_early(&self, now: u64) -> bool {
        self.this_update > now
    }
}

fn this_update(parsed: &Parsed) -> u64 {
    parsed.tbs_cert_list.this_update.to_unix_duration().as_secs()
}

/// The names of a certificate's issuer in DER, and which certificate it is.
pub(crate) fn identify(certificate: &CertificateDer<'_>) -> Option<(Vec<u8>, RevocationId)> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let issuer = encoded(parsed.tbs_certificate().issuer());
    let id = revocation_id(&issuer, parsed.tbs_certificate().serial_number());
    Some((issuer, id))
}

fn revocation_id(issuer: &[u8], serial: &SerialNumber) -> RevocationId {
    // The issuer is DER, which ends by itself.
    let hash = digest(&SHA256, &[issuer, serial.as_bytes()].concat());
    let mut id = RevocationId::default();
    id.iter_mut().zip(hash.as_ref()).for_each(|(byte, hash)| *byte = *hash);
    id
}

/// It was parsed from DER, so it can be written.
fn encoded(name: &Name) -> Vec<u8> {
    name.to_der().unwrap_or_default()
}

fn read_file(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let mut bytes = Vec::new();
    let read =
        File::open(file).and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| TlsError::file(file, CRL, pem::Error::Io(error)))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TlsError::other(file, CRL, "it has more than 64 MiB".to_owned()));
    }
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match lists {
        Ok(lists) if lists.is_empty() => Err(TlsError::file(file, CRL, pem::Error::NoItemsFound)),
        Ok(lists) => Ok(lists),
        Err(error) => Err(TlsError::file(file, CRL, error)),
    }
}
