//! The server's certificate and key, which can be reloaded while it runs.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::ProducesTickets;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// How the server proves who it is, and encrypts: TLS 1.2 and 1.3 by rustls. Clones are the same one:
/// what [`Tls::reload`] reads anew holds for all of them, and so for a server that runs.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    shown: RwLock<Loaded>,
    /// What the files looked like when they were last read.
    read: Mutex<FileStamp>,
}

/// What connections that come are shown.
#[derive(Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    not_after: Option<u64>,
}

/// What changes when a file is written, replaced, or found by another link, of both files. `None`
/// where there is no file.
type FileStamp = [Option<[i64; 5]>; 2];

/// Why a certificate and a key cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, cannot be read, or has no such thing in it.
    #[error("cannot read {expected} from {}: {}", file.display(), describe(source))]
    File {
        /// Which file.
        file: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why it was not found.
        source: pem::Error,
    },
    /// The certificate and the key do not belong together, or rustls does not take one of them.
    #[error(
        "the certificate in {} and the key in {} cannot be used together: {source}",
        certificate.display(),
        key.display()
    )]
    Unfit {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads the certificate chain (the server's own first) and its private key from PEM files.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.as_ref().to_owned(), key.as_ref().to_owned());
        let looks = looks(&certificate, &key);
        let ticketer = ring::Ticketer::new();
        let ticketer = ticketer.map_err(|source| unfit(&certificate, &key, source))?;
        let shown = read(&certificate, &key, ticketer)?;
        let (shown, read) = (RwLock::new(shown), Mutex::new(looks));
        Ok(Self(Arc::new(Inner { certificate, key, shown, read })))
    }

    /// Reads the files anew. Connections that are open go on; those that come show the new
    /// certificate. After an error it is the old one still.
    ///
    /// Sessions of before can still be resumed, so that a fleet does not have to make its handshakes
    /// anew because of a certificate.
    pub fn reload(&self) -> Result<(), TlsError> {
        let Inner { certificate, key, .. } = &*self.0;
        // Before they are read: what is written meanwhile is found by the next look.
        *self.0.read.lock().unwrap_or_else(PoisonError::into_inner) = looks(certificate, key);
        let ticketer = self.shown().config.ticketer.clone();
        let shown = read(certificate, key, ticketer)?;
        *self.0.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }

    /// [`Tls::reload`] if a file looks otherwise than when it was last read, by a link to another one
    /// too. Whether that was so. A file that could not be used is not tried again before it changes.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let looks = looks(&self.0.certificate, &self.0.key);
        if looks == *self.0.read.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// The file that the certificate comes from.
    pub fn certificate(&self) -> &Path {
        &self.0.certificate
    }

    /// When the server's own certificate, as connections are shown it now, expires, in seconds since
    /// 1970-01-01 UTC. `None` if it does not say so in a way that is understood.
    pub fn not_after(&self) -> Option<u64> {
        self.shown().not_after
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.shown().config.into()
    }

    fn shown(&self) -> Loaded {
        self.0.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(
    certificate: &Path,
    key: &Path,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Loaded, TlsError> {
    let unreadable = |file: &Path, expected| {
        let file = file.to_owned();
        move |source| TlsError::File { file, expected, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(unreadable(certificate, "a PEM certificate"))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(unreadable(key, "a PEM private key"))?;
    let not_after = chain.first().and_then(not_after);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|source| unfit(certificate, key, source))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A device that comes back resumes from what it was given itself: the server keeps nothing
    // per device. One ticket will do for one connection.
    config.ticketer = ticketer;
    config.send_tls13_tickets = 1;
    Ok(Loaded { config: Arc::new(config), not_after })
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

fn unfit(certificate: &Path, key: &Path, source: rustls::Error) -> TlsError {
    TlsError::Unfit { certificate: certificate.to_owned(), key: key.to_owned(), source }
}

fn looks(certificate: &Path, key: &Path) -> FileStamp {
    [certificate, key].map(|file| {
        let found = std::fs::metadata(file).ok()?;
        // Numbers of devices and inodes are only compared.
        let (device, inode, size) = (found.dev() as i64, found.ino() as i64, found.size() as i64);
        Some([device, inode, size, found.ctime(), found.ctime_nsec()])
    })
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// The library's own words are for programmers, and may show a line of the file.
fn describe(error: &pem::Error) -> String {
    if let pem::Error::Io(error) = error {
        error.to_string()
    } else if matches!(error, pem::Error::NoItemsFound) {
        "there is none in it".into()
    } else {
        "it is not well-formed PEM".into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.key_pair.serialize_pem())
    }

    fn load(certificate: &str, key: &str) -> (Result<Tls, TlsError>, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let (certificate_file, key_file) =
            (folder.path().join("c.pem"), folder.path().join("k.pem"));
        fs::write(&certificate_file, certificate).unwrap();
        fs::write(&key_file, key).unwrap();
        let loaded = Tls::from_pem_files(&certificate_file, &key_file);
        (loaded, certificate_file.display().to_string(), key_file.display().to_string())
    }

    #[test]
    fn a_certificate_and_its_key_are_taken() {
        let (certificate, key) = pair();
        load(&certificate, &key).0.unwrap();
    }

    #[test]
    fn errors_name_the_file_and_what_should_be_in_it() {
        let (certificate, key) = pair();
        let (loaded, file, _) = load("", &key);
        assert_eq!(
            loaded.unwrap_err().to_string(),
            format!("cannot read a PEM certificate from {file}: there is none in it")
        );
        let (loaded, _, file) = load(&certificate, &certificate);
        assert_eq!(
            loaded.unwrap_err().to_string(),
            format!("cannot read a PEM private key from {file}: there is none in it")
        );
        let error = Tls::from_pem_files("/nowhere/c.pem", "/nowhere/k.pem").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read a PEM certificate from /nowhere/c.pem: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (loaded, certificate, key) = load(&pair().0, &pair().1);
        let error = loaded.unwrap_err();
        assert!(matches!(error, TlsError::Unfit { .. }), "{error}");
        assert!(error.to_string().contains(&certificate), "{error}");
        assert!(error.to_string().contains(&key), "{error}");
    }

    #[test]
    fn the_end_is_that_of_the_servers_own_certificate_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let put = |years: [i32; 2]| {
            let keys = rcgen::KeyPair::generate().unwrap();
            let chain = years.map(|year| {
                let mut made = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
                made.not_after = rcgen::date_time_ymd(year, 1, 1);
                made.self_signed(&keys).unwrap().pem()
            });
            fs::write(&certificate, chain.concat()).unwrap();
            fs::write(&key, keys.serialize_pem()).unwrap();
        };
        put([2027, 2026]);
        let tls = Tls::from_pem_files(&certificate, &key).unwrap();
        assert_eq!(tls.not_after(), Some(1_798_761_600));
        put([2060, 2026]);
        assert_eq!(tls.not_after(), Some(1_798_761_600));
        tls.reload().unwrap();
        assert_eq!(tls.not_after(), Some(2_840_140_800));
    }

    /// The files in a folder that a link names, as Kubernetes and certbot have them.
    #[test]
    fn files_are_read_anew_when_they_or_a_link_to_them_changed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let put = |place: &str, (certificate, key): &(String, String)| {
            fs::create_dir_all(at(place)).unwrap();
            fs::write(at(place).join("c.pem"), certificate).unwrap();
            fs::write(at(place).join("k.pem"), key).unwrap();
        };
        let link = |to: &str| {
            std::os::unix::fs::symlink(to, at("new")).unwrap();
            fs::rename(at("new"), at("live")).unwrap();
        };
        let (first, second) = (pair(), pair());
        put("1", &first);
        link("1");
        let tls = Tls::from_pem_files(at("live/c.pem"), at("live/k.pem")).unwrap();
        assert!(!tls.reload_if_changed().unwrap());

        put("2", &second);
        link("2");
        let before = tls.shown().config;
        assert!(tls.reload_if_changed().unwrap());
        assert!(!Arc::ptr_eq(&before, &tls.shown().config));
        assert!(Arc::ptr_eq(&before.ticketer, &tls.shown().config.ticketer));
        assert!(!tls.reload_if_changed().unwrap());

        // A certificate without its key, until that is there too.
        let before = tls.shown().config;
        fs::write(at("live/c.pem"), &first.0).unwrap();
        let error = tls.reload_if_changed().unwrap_err();
        assert!(matches!(error, TlsError::Unfit { .. }), "{error}");
        assert!(!tls.reload_if_changed().unwrap(), "not tried again for nothing");
        assert!(Arc::ptr_eq(&before, &tls.shown().config));
        fs::write(at("live/k.pem"), &first.1).unwrap();
        assert!(tls.reload_if_changed().unwrap());

        fs::remove_file(at("live/k.pem")).unwrap();
        let error = tls.reload_if_changed().unwrap_err().to_string();
        assert!(error.contains("live/k.pem: No such file"), "{error}");
    }
}
