//! The TLS configuration as the files say. It is made again when they change, so that a renewed certificate needs
//! no restart; files that cannot be used leave it as it was.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::{Resumption, Tls12Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use tracing::{info, warn};

use super::client_identity::Identity;
use super::error::TlsError;
use super::options::TlsOptions;
use super::pem::PemFile;
use super::trusted_time::TrustedTime;
use super::verifier::TimedVerifier;

/// How long an attempt waits for files on a disk that does not respond; then it uses what was read before.
const DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a handshake needs.
#[derive(Clone)]
pub(super) struct Configured {
    pub(super) config: Arc<ClientConfig>,
    pub(super) verifier: Arc<TimedVerifier>,
}

/// The files that the options name, and the configuration from their last usable content.
pub(super) struct TlsFiles {
    options: TlsOptions,
    time: TrustedTime,
    hasher: RandomState,
    state: Mutex<State>,
}

struct State {
    configured: Configured,
    /// Of the content that it was made from.
    hash: u64,
    /// Why newer content cannot be used, as it was logged.
    problem: Option<String>,
    /// Whether a thread reads the files now.
    is_reading: bool,
}

impl TlsFiles {
    /// Reads the files for the first time. Blocks on the disk.
    pub(super) fn new(options: TlsOptions, time: TrustedTime) -> Result<Self, TlsError> {
        let hasher = RandomState::new();
        let contents = Contents::read(&options)?;
        let configured = contents.configure(&options, time.clone())?;
        let hash = contents.hash(&hasher);
        let state = State { configured, hash, problem: None, is_reading: false };
        Ok(Self { options, time, hasher, state: Mutex::new(state) })
    }

    /// The configuration for the next handshake. Does not block.
    pub(super) async fn current(self: &Arc<Self>) -> Configured {
        if self.names_files() && !mem::replace(&mut self.lock().is_reading, true) {
            let this = self.clone();
            let read = tokio::task::spawn_blocking(move || this.read_again());
            match tokio::time::timeout(DISK_TIMEOUT, read).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.lock().is_reading = false,
                Err(_) => warn!(
                    "the disk with the files of TLS does not respond; using their previous content"
                ),
            }
        }
        self.lock().configured.clone()
    }

    fn names_files(&self) -> bool {
        self.options.trust.file().is_some() || self.options.identity.is_some()
    }

    fn read_again(&self) {
        let contents = Contents::read(&self.options);
        let hash = contents.as_ref().ok().map(|contents| contents.hash(&self.hasher));
        let mut new = None;
        if hash != Some(self.lock().hash) {
            new = Some(contents.and_then(|it| it.configure(&self.options, self.time.clone())));
        }
        let mut state = self.lock();
        state.is_reading = false;
        let problem = match (new, hash) {
            (Some(Ok(configured)), Some(hash)) => {
                (state.configured, state.hash) = (configured, hash);
                info!("the files of TLS have changed and were read again");
                None
            }
            (Some(Err(error)), _) => Some(error.to_string()),
            _ => None,
        };
        if problem != state.problem {
            if let Some(problem) = &problem {
                warn!("{problem}; using the previous content of the files of TLS");
            }
            state.problem = problem;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Each change is complete, whatever panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the files contain.
struct Contents {
    authorities: Option<PemFile>,
    /// The chain and the key.
    identity: Option<(PemFile, PemFile)>,
}

impl Contents {
    fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let authorities = match options.trust.file() {
            Some(file) => Some(PemFile::of_certificates(file)?),
            None => None,
        };
        let identity = match &options.identity {
            Some(Identity { certificate, key }) => {
                Some((PemFile::of_certificates(certificate)?, PemFile::of_key(key)?))
            }
            None => None,
        };
        Ok(Self { authorities, identity })
    }

    /// A hash instead of the content, which includes a key.
    fn hash(&self, hasher: &RandomState) -> u64 {
        let identity = self.identity.as_ref().map(|(chain, key)| (&chain.bytes, &key.bytes));
        hasher.hash_one((self.authorities.as_ref().map(|file| &file.bytes), identity))
    }

    fn configure(&self, options: &TlsOptions, time: TrustedTime) -> Result<Configured, TlsError> {
        let roots = Arc::new(options.trust.roots(self.authorities.as_ref())?);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let verifier = Arc::new(TimedVerifier::new(verifier, time));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?
            // This does not skip verification: it is rustls's own, only at a different time.
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match (&options.identity, &self.identity) {
            (Some(files), Some((chain, key))) => builder
                .with_client_auth_cert(chain.certificates()?, key.key()?)
                .map_err(|source| TlsError::identity(&files.certificate, &files.key, source))?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // In memory only, and there is only one cloud. Not for TLS 1.2, whose sessions may never expire.
        config.resumption =
            Resumption::in_memory_sessions(4).tls12_resumption(Tls12Resumption::Disabled);
        Ok(Configured { config: Arc::new(config), verifier })
    }
}
