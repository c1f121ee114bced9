//! Verifies the certificates of clients: when a connection is opened, and again for as long as it is needed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::certificate_refused::CertificateRefused;
use crate::client_certificate::{ClientCertificate, LiveVerification, Verification};
use crate::client_problem;
use crate::parse_client;
use crate::revocation::{self, RevocationId, RevocationLists};
use crate::tls_error::{AUTHORITIES, CRL, TlsError, read_certificates};

/// Which certificates clients may, or have to, present; for [`Tls::with_client_auth`](crate::Tls::with_client_auth).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientAuth {
    /// A PEM file with the certificates of the authorities.
    pub authorities: PathBuf,
    /// Whether a client without a certificate is refused.
    pub required: bool,
    /// PEM or DER files with revocation lists. If there are any, the issuer of each client's certificate needs one.
    pub crls: Vec<PathBuf>,
    /// Whether a list counts after the time at which the next one was due. Otherwise what its issuer issued is refused.
    pub accept_expired_crls: bool,
}

impl ClientAuth {
    /// Optional certificates by the authorities of this PEM file, without revocation lists.
    pub fn new(authorities: impl Into<PathBuf>) -> Self {
        let authorities = authorities.into();
        Self { authorities, required: false, crls: Vec::new(), accept_expired_crls: false }
    }

    /// These settings after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// The authorities and revocation lists that were loaded.
pub(crate) struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) lists: RevocationLists,
    accept_expired: bool,
    /// Differs for each that was loaded.
    generation: u64,
}

static GENERATIONS: AtomicU64 = AtomicU64::new(1);

impl ClientVerifier {
    pub(crate) fn load(options: &ClientAuth) -> Result<Self, TlsError> {
        let file = &options.authorities;
        let authorities = read_certificates(file, AUTHORITIES)?;
        let mut roots = RootCertStore::empty();
        for (index, authority) in authorities.iter().enumerate() {
            roots.add(authority.clone()).map_err(|error| {
                let problem =
                    format!("certificate {} of the file cannot be used ({error})", index + 1);
                TlsError::other(file, AUTHORITIES, problem)
            })?;
        }
        let (lists, crls) = RevocationLists::read(&options.crls)?;
        let provider = Arc::new(ring::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            // That of the issuer has to exist. For the authorities above it `check_authorities` looks at those that do.
            .only_check_end_entity_revocation()
            .with_crls(crls);
        if !options.required {
            builder = builder.allow_unauthenticated();
        }
        if !options.accept_expired_crls {
            builder = builder.enforce_revocation_expiration();
        }
        let webpki = builder.build().map_err(|error| {
            let file = options.crls.first().unwrap_or(file);
            TlsError::other(file, CRL, format!("a list cannot be used ({error})"))
        })?;
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        let accept_expired = options.accept_expired_crls;
        Ok(Self { webpki, authorities, lists, accept_expired, generation })
    }

    pub(crate) fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let Some((own, others)) = chain.split_first() else {
            return Err(Error::NoCertificatesPresented);
        };
        self.webpki.verify_client_cert(own, others, now)?;
        self.check_authorities(others, now)
    }

    /// The revocation of the intermediates, of which not every one has a list.
    fn check_authorities(
        &self,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.lists.is_empty() {
            return Ok(());
        }
        for intermediate in intermediates {
            let (issuer, id) =
                revocation::identify(intermediate).ok_or(CertificateError::BadEncoding)?;
            if self.lists.revoke(&[id]) {
                return Err(CertificateError::Revoked.into());
            }
            let list = self.lists.of(&issuer).filter(|list| list.is_expired(now.as_secs()));
            if let Some(next_update) = list.and_then(|list| list.next_update) {
                if !self.accept_expired {
                    let next_update = UnixTime::since_unix_epoch(Duration::from_secs(next_update));
                    let error =
                        CertificateError::ExpiredRevocationListContext { time: now, next_update };
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let parsed = parse_client::parse(end_entity);
        let verified = self.verify(&chain, now).and_then(|()| match &parsed {
            Some(_) => Ok(()),
            None => Err(CertificateError::BadEncoding.into()),
        });
        if let Err(error) = verified {
            // Here, where it is known whose it is.
            let problem = client_problem::explain(&error, &chain);
            let reason = problem.reason();
            match parsed {
                Some(ClientCertificate { subject, serial, issuer, .. }) => tracing::info!(
                    subject, serial, issuer, reason, %problem,
                    "refused the certificate of a client"
                ),
                None => tracing::info!(reason, %problem, "refused the certificate of a client"),
            }
            return Err(error);
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What is loaded now; it changes when the files are read again.
pub(crate) type CurrentVerifier = Arc<RwLock<Arc<ClientVerifier>>>;

/// The chain that a client has presented, and when it was verified.
pub(crate) struct VerifiedChain {
    chain: Box<[CertificateDer<'static>]>,
    live: Arc<LiveChain>,
    latest: Mutex<Option<Verified>>,
}

/// The chain was accepted.
#[derive(Clone, Copy)]
struct Verified {
    at: Instant,
    generation: u64,
}

/// How long signatures, and lists of revoked certificates, count as verified while they are the same.
const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// What a connection keeps of a chain: which certificates it has.
struct LiveChain {
    current: CurrentVerifier,
    ids: Box<[RevocationId]>,
}

/// The certificate of a chain, its own first, that `verifier` has just accepted, or that belongs to a session that was
/// resumed. `None` if it cannot be parsed.
pub(crate) fn certificate(
    current: CurrentVerifier,
    chain: &[CertificateDer<'_>],
    verifier: Option<&ClientVerifier>,
) -> Option<ClientCertificate> {
    let parsed = parse_client::parse(chain.first()?)?;
    let ids: Option<Box<[_]>> =
        chain.iter().map(|one| revocation::identify(one).map(|(_, id)| id)).collect();
    let generation = verifier.map(|verifier| verifier.generation);
    let latest = generation.map(|generation| Verified { at: Instant::now(), generation });
    let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
    let live = Arc::new(LiveChain { current, ids: ids? });
    let verification = Box::new(VerifiedChain { chain, live, latest: Mutex::new(latest) });
    Some(parsed.with(|it| it.verification = Some(verification)))
}

impl Verification for VerifiedChain {
    fn check(&self, now: u64) -> Result<(), CertificateRefused> {
        let verifier = self.live.current.read().clone();
        let mut latest = self.latest.lock();
        let is_verified = latest.is_some_and(|Verified { at, generation }| {
            generation == verifier.generation && at.elapsed() < VERIFIED_FOR
        });
        if is_verified {
            return Ok(());
        }
        *latest = None;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        verifier
            .verify(&self.chain, time)
            .map_err(|error| client_problem::explain(&error, &self.chain))?;
        *latest = Some(Verified { at: Instant::now(), generation: verifier.generation });
        Ok(())
    }

    fn live(&self) -> Arc<dyn LiveVerification> {
        self.live.clone()
    }
}

impl LiveVerification for LiveChain {
    fn check(&self) -> Result<(), CertificateRefused> {
        let is_revoked = self.current.read().lists.revoke(&self.ids);
        if is_revoked { Err(client_problem::revoked()) } else { Ok(()) }
    }
}
