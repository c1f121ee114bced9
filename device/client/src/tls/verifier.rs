//! Verification of a server's certificates by the rules of [`trusted_time`](super::trusted_time).

use std::fmt;
use std::sync::Arc;

use fedecks_common::utc;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::trusted_time::TrustedTime;

/// How often the time is moved for one chain. Each time deals with at least one certificate, and
/// a chain has no more than 8.
const MOVES: usize = 8;

/// rustls's own verification, at a time that is not always the system's.
#[derive(Debug)]
pub(crate) struct TimedVerifier {
    inner: Arc<WebPkiServerVerifier>,
    time: TrustedTime,
}

impl TimedVerifier {
    pub(crate) fn new(inner: Arc<WebPkiServerVerifier>, time: TrustedTime) -> Self {
        Self { inner, time }
    }

    /// The trusted time that it goes by.
    pub(crate) fn time(&self) -> &TrustedTime {
        &self.time
    }
}

impl ServerCertVerifier for TimedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _system_time: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.time.judge();
        let mut at = judged.time;
        let mut verified = Err(Error::General("too many times of validity".into()));
        for _ in 0..=MOVES {
            verified = self.inner.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                at,
            );
            match not_before(&verified) {
                Some(later) if later > at => at = later,
                Some(_) | None => break,
            }
        }
        if verified.is_ok() && at != judged.clock {
            tracing::warn!(
                clock = %utc(judged.clock.as_secs()),
                verified_at = %utc(at.as_secs()),
                floor = %utc(self.time.floor().as_secs()),
                "the system's clock is wrong, the server was verified at another time"
            );
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A server whose certificates were verified.
#[derive(Clone)]
pub(crate) struct VerifiedPeer {
    verifier: Arc<TimedVerifier>,
    name: ServerName<'static>,
    chain: Vec<CertificateDer<'static>>,
}

impl VerifiedPeer {
    /// The peer of a TLS session that `verifier` has let through: its name and the certificates
    /// that it sent, its own first.
    pub(crate) fn new(
        verifier: Arc<TimedVerifier>,
        name: ServerName<'static>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { verifier, name, chain }
    }

    /// The latest time up to `claimed` at which the chain is valid: `claimed` itself, or the
    /// earliest not-after of the chain. `None` if it is not valid then, or not yet.
    pub(crate) fn latest_valid(&self, claimed: UnixTime) -> Option<UnixTime> {
        let (own, others) = self.chain.split_first()?;
        let mut at = claimed;
        for _ in 0..=MOVES {
            let inner = &self.verifier.inner;
            match inner.verify_server_cert(own, others, &self.name, &[], at) {
                Ok(_) => return Some(at),
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) if not_after < at => at = not_after,
                Err(_) => return None,
            }
        }
        None
    }
}

impl fmt::Debug for VerifiedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedPeer({:?})", self.name)
    }
}

fn not_before(verified: &Result<ServerCertVerified, Error>) -> Option<UnixTime> {
    match verified {
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })) => Some(*not_before),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;
    use std::time::Duration;

    use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
    use rustls::RootCertStore;
    use rustls::crypto::ring;
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;
    use crate::tls::trusted_time::testing::{first, trusted_time};

    /// A certificate authority with a root and, below it, an intermediate.
    pub(crate) struct Authority {
        root: Certificate,
        intermediate: Certificate,
        key: KeyPair,
    }

    impl Authority {
        /// One that lasts for long.
        pub(crate) fn new() -> Self {
            Self::until(first(2090, 1))
        }

        /// One whose intermediate lasts until then.
        pub(crate) fn until(not_after: UnixTime) -> Self {
            let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let root = authority("root", first(2090, 1)).self_signed(&root_key).unwrap();
            let intermediate = authority("intermediate", not_after);
            let intermediate = intermediate.signed_by(&key, &root, &root_key).unwrap();
            Self { root, intermediate, key }
        }

        pub(crate) fn root_pem(&self) -> String {
            self.root.pem()
        }

        /// The chain of a server of this name, and its key.
        pub(crate) fn issue(
            &self,
            name: &str,
            not_before: UnixTime,
            not_after: UnixTime,
        ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
            let (own, key) = self.sign(name, not_before, not_after);
            let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
            (vec![own.der().clone(), self.intermediate.der().clone()], key)
        }

        /// The same as PEM.
        pub(crate) fn issue_pem(
            &self,
            name: &str,
            not_before: UnixTime,
            not_after: UnixTime,
        ) -> (String, String) {
            let (own, key) = self.sign(name, not_before, not_after);
            (own.pem() + &self.intermediate.pem(), key.serialize_pem())
        }

        fn sign(
            &self,
            name: &str,
            not_before: UnixTime,
            not_after: UnixTime,
        ) -> (Certificate, KeyPair) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            set_validity(&mut params, not_before, not_after);
            let own = params.signed_by(&key, &self.intermediate, &self.key).unwrap();
            (own, key)
        }

        pub(crate) fn verifier(&self, time: TrustedTime) -> TimedVerifier {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.der().clone()).unwrap();
            let provider = Arc::new(ring::default_provider());
            let inner = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
            TimedVerifier::new(inner.build().unwrap(), time)
        }
    }

    fn authority(name: &str, not_after: UnixTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        set_validity(&mut params, first(2020, 1), not_after);
        params
    }

    fn set_validity(params: &mut CertificateParams, not_before: UnixTime, not_after: UnixTime) {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(not_before.as_secs());
        params.not_after = epoch + Duration::from_secs(not_after.as_secs());
    }

    /// A server whose certificate is valid in between.
    pub(crate) fn verified_peer(
        authority: &Authority,
        not_before: UnixTime,
        not_after: UnixTime,
        folder: &Path,
    ) -> VerifiedPeer {
        let (chain, _) = authority.issue("cloud.test", not_before, not_after);
        let time = trusted_time(not_before, not_before, folder);
        let name = ServerName::try_from("cloud.test").unwrap();
        VerifiedPeer::new(Arc::new(authority.verifier(time)), name, chain)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::testing::{Authority, verified_peer};
    use super::*;
    use crate::tls::trusted_time::testing::{first, trusted_time};

    const NOWHERE: &str = "/nonexistent/fedecks";

    fn epoch() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::ZERO)
    }

    /// Verifies a certificate of these times by a program of that build on a board with that clock.
    fn verify(
        validity: (UnixTime, UnixTime),
        build: UnixTime,
        clock: UnixTime,
    ) -> Result<(), CertificateError> {
        verify_of(&Authority::new(), "cloud.test", validity, build, clock)
    }

    fn verify_of(
        authority: &Authority,
        name: &str,
        (not_before, not_after): (UnixTime, UnixTime),
        build: UnixTime,
        clock: UnixTime,
    ) -> Result<(), CertificateError> {
        let (chain, _) = authority.issue("cloud.test", not_before, not_after);
        verify_chain(authority, name, &chain, build, clock)
    }

    fn verify_chain(
        authority: &Authority,
        name: &str,
        chain: &[CertificateDer<'_>],
        build: UnixTime,
        clock: UnixTime,
    ) -> Result<(), CertificateError> {
        let verifier = authority.verifier(trusted_time(build, clock, Path::new(NOWHERE)));
        let name = ServerName::try_from(name).unwrap();
        match verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], epoch()) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    fn valid_in_2026() -> (UnixTime, UnixTime) {
        (first(2026, 1), first(2027, 1))
    }

    #[test]
    fn a_valid_certificate_is_accepted_whatever_the_clock_says_short_of_20_years_ahead() {
        let build = first(2026, 2);
        for clock in [epoch(), first(2025, 1), build, first(2026, 6), first(2099, 1)] {
            assert_eq!(verify(valid_in_2026(), build, clock), Ok(()), "{}", utc(clock.as_secs()));
        }
    }

    #[test]
    fn a_certificate_issued_after_the_floor_is_accepted_with_a_clock_in_1970_or_2099() {
        // The program is more than a year old.
        let build = first(2024, 11);
        for clock in [epoch(), first(2099, 1)] {
            assert_eq!(verify(valid_in_2026(), build, clock), Ok(()), "{}", utc(clock.as_secs()));
        }
    }

    #[test]
    fn a_clock_at_the_time_of_the_image_is_no_obstacle_to_a_renewed_certificate() {
        // Above the floor, so it is not known to be wrong, and before the certificate.
        assert_eq!(verify(valid_in_2026(), first(2025, 6), first(2025, 7)), Ok(()));
    }

    #[test]
    fn an_intermediate_that_is_not_valid_yet_either_is_no_obstacle() {
        // The authority's certificates begin in 2020, after the server's.
        assert_eq!(verify((first(2018, 1), first(2027, 1)), first(2016, 1), epoch()), Ok(()));
    }

    #[test]
    fn an_expired_certificate_is_refused_with_a_right_clock() {
        let refused = verify(valid_in_2026(), first(2026, 2), first(2027, 3)).unwrap_err();
        let expected =
            CertificateError::ExpiredContext { time: first(2027, 3), not_after: first(2027, 1) };
        assert_eq!(refused, expected);
    }

    #[test]
    fn a_certificate_that_expired_before_the_floor_is_refused_whatever_the_clock_says() {
        let build = first(2027, 3);
        for clock in [epoch(), first(2026, 6), first(2099, 1)] {
            let refused = verify(valid_in_2026(), build, clock).unwrap_err();
            let expected =
                CertificateError::ExpiredContext { time: build, not_after: first(2027, 1) };
            assert_eq!(refused, expected, "{}", utc(clock.as_secs()));
        }
    }

    #[test]
    fn a_clock_ahead_by_less_than_20_years_makes_a_good_certificate_look_expired() {
        let refused = verify(valid_in_2026(), first(2026, 2), first(2040, 1)).unwrap_err();
        let expected =
            CertificateError::ExpiredContext { time: first(2040, 1), not_after: first(2027, 1) };
        assert_eq!(refused, expected);
    }

    #[test]
    fn a_chain_that_never_was_valid_as_a_whole_is_refused() {
        // The intermediate ended before the server's certificate began.
        let authority = Authority::until(first(2022, 1));
        let refused = verify_of(&authority, "cloud.test", valid_in_2026(), first(2021, 1), epoch());
        let expected =
            CertificateError::ExpiredContext { time: first(2026, 1), not_after: first(2022, 1) };
        assert_eq!(refused, Err(expected));
    }

    #[test]
    fn a_wrong_name_is_refused_with_a_wrong_clock_too() {
        let build = first(2025, 6);
        for clock in [first(2026, 6), first(2025, 7), epoch(), first(2099, 1)] {
            let refused = verify_of(&Authority::new(), "other.test", valid_in_2026(), build, clock);
            let refused = refused.unwrap_err();
            assert!(
                matches!(refused, CertificateError::NotValidForNameContext { .. }),
                "{}: {refused:?}",
                utc(clock.as_secs())
            );
        }
    }

    #[test]
    fn a_foreign_authority_is_refused_with_a_wrong_clock_too() {
        let (validity, build) = (valid_in_2026(), first(2025, 6));
        let (chain, _) = Authority::new().issue("cloud.test", validity.0, validity.1);
        for clock in [first(2026, 6), first(2025, 7), epoch(), first(2099, 1)] {
            let refused =
                verify_chain(&Authority::new(), "cloud.test", &chain, build, clock).unwrap_err();
            // Both authorities have the same names, so only the signature tells.
            assert!(
                matches!(refused, CertificateError::UnknownIssuer | CertificateError::BadSignature),
                "{}: {refused:?}",
                utc(clock.as_secs())
            );
        }
    }

    #[test]
    fn a_peer_vouches_for_times_within_its_chain_only() {
        let peer =
            verified_peer(&Authority::new(), first(2026, 1), first(2027, 1), Path::new(NOWHERE));
        assert_eq!(peer.latest_valid(first(2025, 12)), None);
        assert_eq!(peer.latest_valid(first(2026, 6)), Some(first(2026, 6)));
        assert_eq!(peer.latest_valid(first(2031, 1)), Some(first(2027, 1)));
    }
}
