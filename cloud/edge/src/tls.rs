//! The server's certificate and key, which can be reloaded at run time.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::crypto::ring;
use rustls::server::ProducesTickets;
use rustls::{CertificateError, Error, HandshakeKind, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode;

use crate::chain::{self, CertificateReport, Finding};
use crate::client_auth::{self, ClientAuth, ClientVerifier, CurrentVerifier};
use crate::client_certificate::ClientCertificate;
use crate::client_report;
use crate::tickets::{Purpose, Tickets};
use crate::tls_error::{TlsError, read_chain, read_key, reason};

/// The server's TLS settings: TLS 1.2 and 1.3 by rustls, with a certificate and key from files. Clones
/// share their state: [`Tls::reload`] affects all of them, a running server included.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    client_auth: Option<ClientAuth>,
    /// What clients' certificates are verified by; `None` if they present none.
    clients: Option<CurrentVerifier>,
    loaded: RwLock<Loaded>,
    /// The stamps of all files when they were last read.
    stamps: Mutex<Vec<FileStamp>>,
}

/// What new connections use.
#[derive(Clone)]
pub(crate) struct Loaded {
    config: Arc<ServerConfig>,
    /// `None` if clients present no certificates.
    clients: Option<Arc<ClientVerifier>>,
    chain: Arc<[CertificateDer<'static>]>,
    not_after: Option<u64>,
}

/// Differs if a file was written or replaced, or a link to it now points elsewhere. `None` if there is no
/// such file.
type FileStamp = Option<[i64; 5]>;

impl Tls {
    /// Reads the certificate chain, the server's own first, and its private key from PEM files.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.as_ref().to_owned(), key.as_ref().to_owned());
        let ticketer = ring::Ticketer::new();
        let ticketer = ticketer.map_err(|error| unusable(&certificate, &key, error.to_string()))?;
        Self::new(certificate, key, None, ticketer)
    }

    /// Lets clients present certificates, or requires them to. The files are read now, and again whenever this value is
    /// reloaded. Call it before [`Tls::with_ticket_secret`], and before the value is cloned: what it returns shares
    /// nothing with its clones.
    ///
    /// A session that is resumed has the certificate of the full handshake, and TLS does not verify it again: ask
    /// [`ClientCertificate::check`].
    pub fn with_client_auth(self, client_auth: ClientAuth) -> Result<Self, TlsError> {
        let Inner { certificate, key, .. } = &*self.0;
        let ticketer = self.loaded().config.ticketer.clone();
        Self::new(certificate.clone(), key.clone(), Some(client_auth), ticketer)
    }

    fn new(
        certificate: PathBuf,
        key: PathBuf,
        client_auth: Option<ClientAuth>,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Result<Self, TlsError> {
        let stamps = stamps(&certificate, &key, client_auth.as_ref());
        let loaded = load(&certificate, &key, client_auth.as_ref(), ticketer)?;
        let clients = loaded.clients.clone().map(|verifier| Arc::new(RwLock::new(verifier)));
        let (loaded, stamps) = (RwLock::new(loaded), Mutex::new(stamps));
        Ok(Self(Arc::new(Inner { certificate, key, client_auth, clients, loaded, stamps })))
    }

    /// Encrypts session tickets with keys that follow from this secret, which must be random: devices then
    /// resume their sessions after a restart too, and at every server with the same secret, without another
    /// full handshake. Otherwise the keys are random, and known to this value only.
    ///
    /// Each key is in use for 12 hours, by the system's clock, and its tickets for at most 24.
    #[must_use]
    pub fn with_ticket_secret(self, secret: &[u8; 32]) -> Self {
        let mut loaded = self.0.loaded.write();
        let mut config = ServerConfig::clone(&loaded.config);
        // A ticket from a listener that asks for no certificate must not open one that requires it.
        let purpose = match &self.0.client_auth {
            None => Purpose::Anonymous,
            Some(client_auth) if client_auth.required => Purpose::Required,
            Some(_) => Purpose::Optional,
        };
        config.ticketer = Arc::new(Tickets::new(secret, purpose));
        loaded.config = Arc::new(config);
        drop(loaded);
        self
    }

    /// Reads the files again. New connections use the new certificate; open connections are not
    /// affected, but [`ClientCertificate::check`] goes by the new authorities and revocation lists. After an error
    /// everything old stays in use.
    ///
    /// TLS sessions from before can still be resumed, so that a new certificate does not cost a fleet
    /// full handshakes.
    pub fn reload(&self) -> Result<(), TlsError> {
        let Inner { certificate, key, client_auth, .. } = &*self.0;
        // Before reading: the next check notices what is written in the meantime.
        *self.0.stamps.lock() = stamps(certificate, key, client_auth.as_ref());
        let ticketer = self.loaded().config.ticketer.clone();
        let loaded = load(certificate, key, client_auth.as_ref(), ticketer)?;
        if let (Some(current), Some(verifier)) = (&self.0.clients, &loaded.clients) {
            *current.write() = verifier.clone();
        }
        *self.0.loaded.write() = loaded;
        Ok(())
    }

    /// Calls [`Tls::reload`] if a file has changed since it was last read, or a link to it now points
    /// elsewhere; returns whether it did. Files that could not be used are not tried again until they
    /// change.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let Inner { certificate, key, client_auth, .. } = &*self.0;
        if stamps(certificate, key, client_auth.as_ref()) == *self.0.stamps.lock() {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// The file of the certificate.
    pub fn certificate(&self) -> &Path {
        &self.0.certificate
    }

    /// When the server's own certificate that new connections use expires, in seconds since 1970-01-01
    /// UTC. `None` if the certificate cannot be parsed.
    pub fn not_after(&self) -> Option<u64> {
        self.loaded().not_after
    }

    /// What clients will make of the certificate that new connections use, at `now` in seconds since 1970-01-01
    /// UTC, if they trust these authorities. `all` says that they trust no others.
    pub fn report(
        &self,
        now: u64,
        authorities: &[TrustAnchor<'static>],
        all: bool,
    ) -> CertificateReport {
        chain::report(&self.loaded().chain, now, authorities, all)
    }

    /// What clients may present; `None` if they present no certificates.
    pub fn client_auth(&self) -> Option<&ClientAuth> {
        self.0.client_auth.as_ref()
    }

    /// What an operator should know about the authorities and revocation lists of clients at `now`, in seconds since
    /// 1970-01-01 UTC.
    pub fn client_auth_findings(&self, now: u64) -> Vec<Finding> {
        match (&self.0.client_auth, &self.loaded().clients) {
            (Some(options), Some(verifier)) => client_report::findings(options, verifier, now),
            _ => Vec::new(),
        }
    }

    /// The certificate of the client on this connection, which was accepted with `loaded`; `None` if it presented none.
    pub(crate) fn client_certificate(
        &self,
        loaded: &Loaded,
        connection: &ServerConnection,
    ) -> Result<Option<Arc<ClientCertificate>>, Error> {
        let Inner { client_auth: Some(options), clients: Some(current), .. } = &*self.0 else {
            return Ok(None);
        };
        let Some(chain) = connection.peer_certificates().filter(|chain| !chain.is_empty()) else {
            // rustls has refused it already, except on a session that it resumed.
            return if options.required { Err(Error::NoCertificatesPresented) } else { Ok(None) };
        };
        let is_full = connection.handshake_kind() != Some(HandshakeKind::Resumed);
        let verifier = loaded.clients.as_deref().filter(|_| is_full);
        match client_auth::certificate(current.clone(), chain, verifier) {
            Some(certificate) => Ok(Some(Arc::new(certificate))),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    pub(crate) fn loaded(&self) -> Loaded {
        self.0.loaded.read().clone()
    }
}

impl Loaded {
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.config.clone().into()
    }
}

fn load(
    certificate: &Path,
    key: &Path,
    client_auth: Option<&ClientAuth>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Loaded, TlsError> {
    let chain = read_chain(certificate)?;
    let private = read_key(key)?;
    let not_after = chain.first().and_then(not_after);
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(certificate, key, error.to_string()))?;
    let clients = client_auth.map(ClientVerifier::load).transpose()?.map(Arc::new);
    let builder = match &clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain.clone(), private.clone_key())
        .map_err(|error| unusable(certificate, key, reason(&error, &chain, &private)))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A returning device resumes from the ticket it was given, so the server keeps no state per device.
    // One ticket is enough for one connection.
    config.ticketer = ticketer;
    config.send_tls13_tickets = 1;
    Ok(Loaded { config: Arc::new(config), clients, chain: chain.into(), not_after })
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

fn unusable(certificate: &Path, key: &Path, reason: String) -> TlsError {
    TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), reason }
}

fn stamps(certificate: &Path, key: &Path, client_auth: Option<&ClientAuth>) -> Vec<FileStamp> {
    let authorities = client_auth.map(|options| &*options.authorities);
    let crls = client_auth.into_iter().flat_map(|options| options.crls.iter().map(|file| &**file));
    let stamp = |file: &Path| {
        let found = std::fs::metadata(file).ok()?;
        // The numbers of the device and inode are only compared.
        let (device, inode, size) = (found.dev() as i64, found.ino() as i64, found.size() as i64);
        Some([device, inode, size, found.ctime(), found.ctime_nsec()])
    };
    [certificate, key].into_iter().chain(authorities).chain(crls).map(stamp).collect()
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fedecks_testing::certificates::Certificate;

    use super::*;

    #[test]
    fn errors_name_the_file_and_what_it_should_contain() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Certificate::self_signed("localhost"));
        let files = one.write(folder.path());
        let error = |pem: &str, key_pem: &str| {
            fs::write(&files[0], pem).unwrap();
            fs::write(&files[1], key_pem).unwrap();
            Tls::from_pem_files(&files[0], &files[1]).unwrap_err()
        };
        let [certificate, key] = files.each_ref().map(|file| file.display().to_string());
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (pem, key_pem, kind, file, but) in [
            ("", "", "certificate", &certificate, ""),
            (
                "\x30\x03",
                "",
                "certificate",
                &certificate,
                ", but binary data, perhaps DER or PKCS #12",
            ),
            (&one.key_pem, "", "certificate", &certificate, ", but a private key"),
            (&one.pem, &one.pem, "private key", &key, ", but certificates"),
            (
                &one.pem,
                encrypted,
                "private key",
                &key,
                ", but a key that is encrypted with a passphrase",
            ),
        ] {
            let expected =
                format!("cannot read a PEM {kind} from {file}: the file contains none{but}");
            let error = error(pem, key_pem).to_string();
            assert!(error.starts_with(&expected), "{error}");
        }
        let in_wrong_order = error(&format!("{}{}", other.pem, one.pem), &one.key_pem).to_string();
        assert!(
            in_wrong_order.contains("the key belongs to certificate 2 of the file"),
            "{in_wrong_order}"
        );
        let mismatch = error(&one.pem, &other.key_pem);
        assert!(matches!(mismatch, TlsError::Unusable { .. }), "{mismatch}");
        let mismatch = mismatch.to_string();
        for part in [&*certificate, &*key, ": the key belongs to another certificate"] {
            assert!(mismatch.contains(part), "{mismatch}");
        }
        assert_eq!(
            Tls::from_pem_files("/nowhere/c.pem", "/nowhere/k.pem").unwrap_err().to_string(),
            "cannot read a PEM certificate from /nowhere/c.pem: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn not_after_is_of_the_servers_own_current_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let put = |end: u64| {
            let mut own = Certificate::valid("localhost", 0..end);
            own.pem += &Certificate::valid("localhost", 0..1_767_225_600).pem;
            own.write(folder.path())
        };
        let [certificate, key] = put(1_798_761_600);
        let tls = Tls::from_pem_files(certificate, key).unwrap();
        assert_eq!(tls.not_after(), Some(1_798_761_600));
        put(2_840_140_800);
        assert_eq!(tls.not_after(), Some(1_798_761_600));
        tls.reload().unwrap();
        assert_eq!(tls.not_after(), Some(2_840_140_800));
    }

    /// With the files in a folder that a symbolic link points to, as Kubernetes and certbot keep them.
    #[test]
    fn changed_files_or_links_to_them_are_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let [first, second] = [(); 2].map(|()| Certificate::self_signed("localhost"));
        let put = |place: &str, certificate: &Certificate| {
            fs::create_dir(at(place)).unwrap();
            certificate.write(&at(place));
            std::os::unix::fs::symlink(place, at("new")).unwrap();
            fs::rename(at("new"), at("live")).unwrap();
        };
        put("1", &first);
        let tls = Tls::from_pem_files(at("live/c.pem"), at("live/k.pem")).unwrap();
        assert!(!tls.reload_if_changed().unwrap());

        put("2", &second);
        let before = tls.loaded().config;
        assert!(tls.reload_if_changed().unwrap());
        assert!(!Arc::ptr_eq(&before, &tls.loaded().config));
        assert!(Arc::ptr_eq(&before.ticketer, &tls.loaded().config.ticketer));
        assert!(!tls.reload_if_changed().unwrap());

        // A certificate without its key, which follows later.
        let before = tls.loaded().config;
        fs::write(at("live/c.pem"), &first.pem).unwrap();
        let error = tls.reload_if_changed().unwrap_err();
        assert!(matches!(error, TlsError::Unusable { .. }), "{error}");
        assert!(!tls.reload_if_changed().unwrap(), "not tried again before a change");
        assert!(Arc::ptr_eq(&before, &tls.loaded().config));
        fs::write(at("live/k.pem"), &first.key_pem).unwrap();
        assert!(tls.reload_if_changed().unwrap());

        fs::remove_file(at("live/k.pem")).unwrap();
        let error = tls.reload_if_changed().unwrap_err().to_string();
        assert!(error.contains("live/k.pem: No such file"), "{error}");
    }
}
