//! Certificates for servers in tests, and TLS clients that trust them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::serve::Tls;
use fedecks_cloud::store::unix_now;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// Seconds of a day.
pub const DAY: u64 = 24 * 60 * 60;

/// The extension of RFC 6962.
const TRANSPARENCY_LOGS: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// A certificate and its key.
pub struct Certificate {
    /// As TLS sends it.
    pub der: CertificateDer<'static>,
    /// In PEM.
    pub pem: String,
    /// The private key, in PEM.
    pub key_pem: String,
}

impl Certificate {
    /// Self-signed, valid now.
    pub fn self_signed(name: &str) -> Self {
        Self::valid(name, unix_now() - DAY..unix_now() + 90 * DAY)
    }

    /// Self-signed, valid at these times, in seconds since 1970.
    pub fn valid(name: &str, validity: Range<u64>) -> Self {
        let key = KeyPair::generate().unwrap();
        Self::new(&params(name, validity).self_signed(&key).unwrap(), &key)
    }

    fn new(made: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self { der: made.der().clone(), pem: made.pem(), key_pem: key.serialize_pem() }
    }

    /// Puts the certificate into `c.pem` and its key into `k.pem` in `folder`.
    pub fn write(&self, folder: &Path) -> [PathBuf; 2] {
        let files = ["c.pem", "k.pem"].map(|name| folder.join(name));
        for (file, text) in files.iter().zip([&self.pem, &self.key_pem]) {
            // Renamed into place: a server may be reading it.
            let new = file.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, file).unwrap();
        }
        files
    }

    /// For a server in this process.
    pub fn tls(&self) -> Tls {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = self.write(folder.path());
        Tls::from_pem_files(certificate, key).unwrap()
    }
}

/// A certificate authority.
pub struct Authority {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    /// One with this common name.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: Self::params(name).self_signed(&key).unwrap(), key }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    /// An authority that this one issued a certificate for.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(name);
        let certificate = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        Self { certificate, key }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for a server of this name, valid now.
    pub fn issue(&self, name: &str) -> Certificate {
        self.issue_valid(name, unix_now() - DAY..unix_now() + 90 * DAY)
    }

    /// A certificate with the list of transparency logs that public authorities put into theirs.
    pub fn issue_public(&self, name: &str) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, unix_now() - DAY..unix_now() + 90 * DAY);
        let logs = CustomExtension::from_oid_content(&TRANSPARENCY_LOGS, vec![4, 2, 0, 0]);
        params.custom_extensions.push(logs);
        Certificate::new(&params.signed_by(&key, &self.certificate, &self.key).unwrap(), &key)
    }

    /// A certificate that is valid at these times, in seconds since 1970.
    pub fn issue_valid(&self, name: &str, validity: Range<u64>) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let made = params(name, validity).signed_by(&key, &self.certificate, &self.key);
        Certificate::new(&made.unwrap(), &key)
    }

    /// Puts its own certificate into `ca.pem` in `folder`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("ca.pem");
        std::fs::write(&file, self.certificate.pem()).unwrap();
        file
    }
}

fn params(name: &str, validity: Range<u64>) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(validity.start);
    params.not_after = epoch + Duration::from_secs(validity.end);
    params
}

/// A TLS client that trusts these certificates and nothing else.
pub fn client_config<'a>(
    trusted: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
