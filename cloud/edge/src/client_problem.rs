//! Why the certificate of a client is not accepted, in sentences that say what was expected and what to do.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are of other crates, and a new variant needs no decision here"
)]

use fedecks_common::utc;
use rustls::{CertRevocationListError, CertificateError, Error};
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::certificate_refused::CertificateRefused;
use crate::signature_algorithm;

fn refused(reason: &'static str, text: impl Into<String>) -> CertificateRefused {
    CertificateRefused::new(reason, text)
}

/// What a verifier's error about this chain, the client's own certificate first, means.
pub(crate) fn explain(error: &Error, chain: &[CertificateDer<'_>]) -> CertificateRefused {
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error, chain),
        Error::InvalidCertRevocationList(error) => refused("crl", explain_list(error)),
        error => refused("other", error.to_string()),
    }
}

fn explain_certificate(
    error: &CertificateError,
    chain: &[CertificateDer<'_>],
) -> CertificateRefused {
    let own_end = parse(&chain[..chain.len().min(1)]).map(|(_, end)| end);
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            let end = not_after.as_secs();
            // An error about the client's own certificate has that one's time.
            let which = if own_end == Some(end) { "it" } else { "a certificate of its chain" };
            refused("expired", format!("{which} expired at {}: renew it", utc(end)))
        }
        CertificateError::NotValidYetContext { not_before, time } => refused(
            "not-yet-valid",
            format!(
                "it is not valid before {}, and the server's clock shows {}: issue it with an earlier start, or set \
                 the server's clock",
                utc(not_before.as_secs()),
                utc(time.as_secs())
            ),
        ),
        CertificateError::Expired => {
            refused("expired", "its start is after its end: issue it again")
        }
        CertificateError::Revoked => revoked(),
        CertificateError::UnknownIssuer => refused(
            "unknown-issuer",
            "neither it nor the intermediates that the client sends lead to an authority of client_ca: add the missing \
             intermediate to the client's certificate file, or the authority to client_ca",
        ),
        CertificateError::UnknownRevocationStatus => unknown_status(),
        CertificateError::ExpiredRevocationListContext { next_update, .. } => {
            list_expired(next_update.as_secs())
        }
        CertificateError::BadSignature => refused(
            "signature",
            "an issuer has the right name but another key: is client_ca the authority that issued it?",
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            refused("algorithm", algorithm(chain))
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            refused(
                "purpose",
                "its extended key usage is not for clients: issue one with clientAuth, or without an extended key \
                 usage",
            )
        }
        CertificateError::BadEncoding => refused(
            "malformed",
            "it cannot be parsed: expected an X.509 certificate, version 3, with a serial number of at most 20 bytes",
        ),
        CertificateError::Other(other) => match &*other.to_string() {
            text if text.contains("CaUsedAsEndEntity") => refused(
                "authority",
                "it is that of an authority (CA:TRUE), which no client may present: issue one for the client with it",
            ),
            text if text.contains("EndEntityUsedAsCa") => refused(
                "unknown-issuer",
                "a certificate of its chain is not that of an authority (CA:TRUE), so it may not issue others",
            ),
            text => refused("other", format!("it is not accepted ({text})")),
        },
        error => refused("other", format!("it is not accepted ({error})")),
    }
}

pub(crate) fn revoked() -> CertificateRefused {
    let text =
        "it, or an authority between it and that of client_ca, was revoked: issue another one";
    refused("revoked", text)
}

pub(crate) fn list_expired(next_update: u64) -> CertificateRefused {
    let text = format!(
        "a newer revocation list of its issuer was due at {}: put the current one into the file of client_crl, or set \
         client_crl_expired = \"accept\"",
        utc(next_update)
    );
    refused("crl-expired", text)
}

fn unknown_status() -> CertificateRefused {
    let text = "no revocation list in client_crl is of its issuer, so it is not known whether it was revoked: add that \
                list";
    refused("crl-missing", text)
}

fn explain_list(error: &CertRevocationListError) -> String {
    match error {
        CertRevocationListError::BadSignature => {
            "the revocation list of its issuer was signed by another key than that of the issuer: is it a list of an \
             earlier authority with the same name?"
                .to_owned()
        }
        CertRevocationListError::IssuerInvalidForCrl => {
            "its issuer may not sign revocation lists: issue the authority with the key usage cRLSign".to_owned()
        }
        CertRevocationListError::UnsupportedSignatureAlgorithmContext { .. }
        | CertRevocationListError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the signature of its issuer's revocation list is of a kind that is not accepted: expected ECDSA P-256 or \
             P-384, or RSA with 2048 bits or more, with SHA-256 or SHA-384, or Ed25519"
                .to_owned()
        }
        error => format!("the revocation list of its issuer cannot be used ({error:?})"),
    }
}

/// Which certificate has a signature that cannot be verified.
fn algorithm(chain: &[CertificateDer<'_>]) -> String {
    let expected = "expected ECDSA P-256 or P-384 with SHA-256 or SHA-384, RSA with SHA-256 or stronger, or Ed25519";
    let unsupported = chain.iter().enumerate().find_map(|(index, certificate)| {
        let certificate = Certificate::from_der(certificate).ok()?;
        let name = signature_algorithm::unsupported(&certificate)?;
        let which = if index == 0 { "it" } else { "a certificate of its chain" };
        Some(format!("{which} is signed by {name}: have it issued again; {expected}"))
    });
    unsupported.unwrap_or_else(|| {
        format!("it, or a certificate of its chain, is signed by a key of another kind: {expected}")
    })
}

/// The first and last second of the first of these certificates.
fn parse(chain: &[CertificateDer<'_>]) -> Option<(u64, u64)> {
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
    Some((seconds(validity.not_before), seconds(validity.not_after)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use fedecks_testing::openssl::{Key, OpensslAuthority, Request};
    use rustls_pki_types::UnixTime;
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::client_auth::{ClientAuth, ClientVerifier};

    /// In 2026.
    const NOW: u64 = 1_790_000_000;

    /// Why a chain is refused; `None` if it is accepted.
    fn judge(verifier: &ClientVerifier, file: &Path) -> Option<CertificateRefused> {
        let chain = CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap);
        let chain: Vec<_> = chain.collect();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        verifier.verify(&chain, now).err().map(|error| explain(&error, &chain))
    }

    fn verifier(authorities: &[&OpensslAuthority], crls: Vec<PathBuf>) -> ClientVerifier {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.pem");
        let read = |authority: &&OpensslAuthority| fs::read(&authority.certificate).unwrap();
        fs::write(&file, authorities.iter().flat_map(read).collect::<Vec<_>>()).unwrap();
        ClientVerifier::load(&ClientAuth::new(file).with(|it| it.crls = crls)).unwrap()
    }

    fn assert_refused(what: &str, refused: Option<CertificateRefused>, expected: &str) {
        let Some((reason, part)) = expected.split_once(": ") else {
            assert_eq!(refused, None, "{what}");
            return;
        };
        let refused = refused.unwrap_or_else(|| panic!("{what} is accepted"));
        assert_eq!(refused.reason(), reason, "{what}");
        assert!(refused.to_string().contains(part), "{what}: {refused}");
    }

    #[test]
    fn each_kind_of_certificate_has_its_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let root = OpensslAuthority::new(folder.path(), "root");
        let middle = root.intermediate("middle");
        let stranger = OpensslAuthority::new(folder.path(), "stranger");
        let [p384, p521, ed25519, rsa] = [Key::P384, Key::P521, Key::Ed25519, Key::Rsa]
            .map(|key| OpensslAuthority::with_key(folder.path(), &format!("{key:?}"), key));
        let verifier = verifier(&[&root, &p384, &p521, &ed25519, &rsa], Vec::new());
        let a = || Request::new("a");
        let digest = |digest: &'static str| a().with(|it| it.digest = digest);
        let extensions = |text: &str| a().with(|it| it.extensions = text.to_owned());
        for (what, issued, expected) in [
            ("by the root", root.issue(&a()), "accepted"),
            ("by an intermediate", middle.issue(&a()), "accepted"),
            (
                "expired",
                root.issue(&a().with(|it| it.end = "20210101000000Z")),
                "expired: it expired at 2021-01-01T00:00:00Z: renew it",
            ),
            (
                "not yet valid",
                root.issue(&a().with(|it| it.start = "20990101000000Z")),
                "not-yet-valid: before 2099-01-01T00:00:00Z, and the server's clock shows 2026-09-",
            ),
            // Issued by a board or a factory whose clock shows 1970: what counts is the server's.
            ("of 1970", root.issue(&a().with(|it| it.start = "19700101000000Z")), "accepted"),
            ("by a stranger", stranger.issue(&a()), "unknown-issuer: add the missing intermediate"),
            (
                "of an authority",
                root.issue(&extensions("basicConstraints = critical, CA:TRUE")),
                "authority: (CA:TRUE), which no client may present",
            ),
            (
                "for servers",
                root.issue(&extensions("extendedKeyUsage = serverAuth")),
                "purpose: issue one with clientAuth",
            ),
            ("for anything", root.issue(&extensions("subjectKeyIdentifier = hash")), "accepted"),
            ("P-256 with SHA-384", root.issue(&digest("sha384")), "accepted"),
            (
                "P-256 with SHA-512",
                root.issue(&digest("sha512")),
                "algorithm: it is signed by ECDSA with SHA-512: have it issued again; expected ECDSA",
            ),
            ("P-384 with SHA-384", p384.issue(&digest("sha384")), "accepted"),
            ("P-384 with SHA-256", p384.issue(&digest("sha256")), "accepted"),
            ("P-384 with SHA-512", p384.issue(&digest("sha512")), "algorithm: ECDSA with SHA-512"),
            ("P-521 with SHA-512", p521.issue(&digest("sha512")), "algorithm: ECDSA with SHA-512"),
            (
                "P-521 with SHA-256",
                p521.issue(&digest("sha256")),
                "algorithm: is signed by a key of another kind: expected ECDSA P-256 or P-384",
            ),
            ("Ed25519", ed25519.issue(&digest("default")), "accepted"),
            ("RSA with SHA-256", rsa.issue(&digest("sha256")), "accepted"),
            ("RSA with SHA-512", rsa.issue(&digest("sha512")), "accepted"),
            ("RSA with SHA-1", rsa.issue(&digest("sha1")), "algorithm: RSA with SHA-1"),
        ] {
            assert_refused(what, judge(&verifier, &issued.certificate), expected);
        }
        let alone = middle.issue(&a()).certificate;
        let text = fs::read_to_string(&alone).unwrap();
        let end = text.find("-----END CERTIFICATE-----\n").unwrap() + 26;
        fs::write(&alone, &text[..end]).unwrap();
        assert_refused("alone", judge(&verifier, &alone), "unknown-issuer: the intermediates");
    }

    #[test]
    fn each_revocation_has_its_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let root = OpensslAuthority::new(folder.path(), "root");
        let middle = root.intermediate("middle");
        let issued = root.issue(&Request::new("a"));
        let below = middle.issue(&Request::new("b"));
        let judged = |crls: Vec<PathBuf>, file: &Path| judge(&verifier(&[&root], crls), file);
        let [of_root, of_middle] = [root.crl(), middle.crl()];
        let both = vec![of_root.clone(), of_middle.clone()];
        for (what, crls, file, expected) in [
            ("listed", both.clone(), &issued, "accepted"),
            ("below, listed", both.clone(), &below, "accepted"),
            ("below, with that list only", vec![of_middle], &below, "accepted"),
            ("below, without its list", vec![of_root], &below, "crl-missing: of its issuer"),
        ] {
            assert_refused(what, judged(crls, &file.certificate), expected);
        }
        root.revoke(&issued.certificate);
        root.crl();
        let revoked = "revoked: was revoked: issue another one";
        assert_refused("revoked", judged(both.clone(), &issued.certificate), revoked);
        assert_refused("not revoked", judged(both.clone(), &below.certificate), "accepted");
        let again = root.issue(&Request::new("a").with(|it| it.key = Some(&issued.key)));
        assert_refused("the same key again", judged(both.clone(), &again.certificate), "accepted");
        root.revoke(&middle.certificate);
        root.crl();
        assert_refused("its issuer", judged(both.clone(), &below.certificate), revoked);
        root.crl_until("20210101000000Z");
        let due = "crl-expired: was due at 2021-01-01T00:00:00Z: put the current one into";
        assert_refused("an old list", judged(both.clone(), &again.certificate), due);
    }
}
