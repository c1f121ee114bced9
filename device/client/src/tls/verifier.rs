//! Verifies a server's certificates by the rules of [`trusted_time`](super::trusted_time).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fedecks_common::utc;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::trusted_time::{TrustedTime, VerificationTime};

/// How often the verification time is adjusted for one chain. Each adjustment settles at least one
/// certificate, and a chain has at most 8.
const MAX_ADJUSTMENTS: usize = 8;

/// rustls's own verification, at a time that may differ from the system's.
#[derive(Debug)]
pub(crate) struct TimedVerifier {
    inner: Arc<WebPkiServerVerifier>,
    time: TrustedTime,
    is_alone: AtomicBool,
}

impl TimedVerifier {
    pub(crate) fn new(inner: Arc<WebPkiServerVerifier>, time: TrustedTime) -> Self {
        Self { inner, time, is_alone: AtomicBool::new(false) }
    }

    /// Whether the last server that it verified has sent no intermediate certificate. Only for people.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone.load(Ordering::Relaxed)
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
        self.is_alone.store(intermediates.is_empty(), Ordering::Relaxed);
        let VerificationTime { mut at, clock } = self.time.verification_time();
        let mut verified = Err(Error::General("too many different validity periods".into()));
        for _ in 0..=MAX_ADJUSTMENTS {
            verified = self.inner.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                at,
            );
            match not_before(&verified) {
                Some(later) if later > at => at = later,
                _ => break,
            }
        }
        if verified.is_ok() && at != clock {
            tracing::warn!(
                clock = %utc(clock.as_secs()),
                verified_at = %utc(at.as_secs()),
                floor = %utc(self.time.floor().as_secs()),
                "the system clock is wrong, verified the server's certificates at another time"
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

/// A server whose certificates have been verified.
#[derive(Clone)]
pub(crate) struct VerifiedPeer {
    verifier: Arc<TimedVerifier>,
    name: ServerName<'static>,
    chain: Vec<CertificateDer<'static>>,
}

impl VerifiedPeer {
    /// The peer of a TLS session that `verifier` has accepted: its name and the certificates that it
    /// sent, its own first.
    pub(crate) fn new(
        verifier: Arc<TimedVerifier>,
        name: ServerName<'static>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { verifier, name, chain }
    }

    /// The latest time up to `claimed` at which the chain is valid: `claimed` itself, or the earliest
    /// not-after of the chain. `None` if it is not valid at that time, or not valid yet.
    pub(crate) fn latest_valid(&self, claimed: UnixTime) -> Option<UnixTime> {
        let (own, others) = self.chain.split_first()?;
        let mut at = claimed;
        for _ in 0..=MAX_ADJUSTMENTS {
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
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, NOWHERE, epoch, first, trusted_time, year_2026};

    /// Verifies a chain by a program built at `build` on a board whose clock shows `clock`.
    fn verify(
        authority: &Authority,
        name: &'static str,
        chain: &[CertificateDer<'_>],
        build: UnixTime,
        clock: UnixTime,
    ) -> Result<(), CertificateError> {
        let verifier = authority.verifier(trusted_time(build, clock, NOWHERE));
        let name = ServerName::try_from(name).unwrap();
        match verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], epoch()) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_certificate_is_accepted_if_any_plausible_time_allows_it() {
        let wrong = || vec![epoch(), first(2099, 1)];
        let clocks = [wrong(), vec![first(2025, 1), first(2026, 2), first(2026, 6)]].concat();
        let since_2018 = (first(2018, 1), first(2027, 1));
        for (case, validity, build, clocks) in [
            ("any clock but one less than 20 years ahead", year_2026(), first(2026, 2), clocks),
            // The program is more than a year old.
            ("issued after the floor, with a wrong clock", year_2026(), first(2024, 11), wrong()),
            // After the floor, so the clock is not known to be wrong, and before the certificate.
            ("renewed after the image", year_2026(), first(2025, 6), vec![first(2025, 7)]),
            // The authority's certificates begin in 2020, after the server's.
            ("an intermediate that is not valid yet", since_2018, first(2016, 1), vec![epoch()]),
        ] {
            let authority = Authority::new();
            let chain = authority.chain("cloud.test", validity);
            for clock in clocks {
                let verified = verify(&authority, "cloud.test", &chain, build, clock);
                assert_eq!(verified, Ok(()), "{case}: {}", utc(clock.as_secs()));
            }
        }
    }

    #[test]
    fn a_certificate_that_has_expired_is_refused() {
        let expect = |case, authority: &Authority, build, clock, time, not_after| {
            let chain = authority.chain("cloud.test", year_2026());
            let refused = verify(authority, "cloud.test", &chain, build, clock);
            let expected = CertificateError::ExpiredContext { time, not_after };
            assert_eq!(refused, Err(expected), "{case}");
        };
        for (case, build, clock, time) in [
            ("a correct clock", first(2026, 2), first(2027, 3), first(2027, 3)),
            ("less than 20 years ahead", first(2026, 2), first(2040, 1), first(2040, 1)),
            ("before the floor, 1970", first(2027, 3), epoch(), first(2027, 3)),
            ("before the floor, 2026", first(2027, 3), first(2026, 6), first(2027, 3)),
            ("before the floor, 2099", first(2027, 3), first(2099, 1), first(2027, 3)),
        ] {
            expect(case, &Authority::new(), build, clock, time, first(2027, 1));
        }
        let (end, begin) = (first(2022, 1), first(2026, 1));
        expect("never all valid", &Authority::until(end), first(2021, 1), epoch(), begin, end);
    }

    #[test]
    fn a_wrong_name_or_authority_is_refused_at_any_clock() {
        let (authority, build) = (Authority::new(), first(2025, 6));
        let chain = authority.chain("cloud.test", year_2026());
        for clock in [first(2026, 6), first(2025, 7), epoch(), first(2099, 1)] {
            let shown = utc(clock.as_secs());
            let refusal = |authority: &Authority, name| {
                verify(authority, name, &chain, build, clock).unwrap_err()
            };
            let name = refusal(&authority, "other.test");
            assert!(matches!(name, CertificateError::NotValidForNameContext { .. }), "{shown}");
            // Both authorities have the same names, so only the signature differs.
            let issuer = refusal(&Authority::new(), "cloud.test");
            let expected = [CertificateError::UnknownIssuer, CertificateError::BadSignature];
            assert!(expected.contains(&issuer), "{shown}: {issuer:?}");
        }
    }

    #[test]
    fn a_peer_confirms_only_times_within_the_validity_of_its_chain() {
        let peer = Authority::new().verified_peer(year_2026());
        assert_eq!(peer.latest_valid(first(2025, 12)), None);
        assert_eq!(peer.latest_valid(first(2026, 6)), Some(first(2026, 6)));
        assert_eq!(peer.latest_valid(first(2031, 1)), Some(first(2027, 1)));
    }
}
