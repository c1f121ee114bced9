//! What an operator should know about the authorities of clients and their revocation lists.

use fedecks_common::utc;
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::BasicConstraints;

use crate::chain::{Finding, Severity};
use crate::client_auth::{ClientAuth, ClientVerifier};

/// What is wrong at `now`, in seconds since 1970-01-01 UTC.
pub(crate) fn findings(options: &ClientAuth, verifier: &ClientVerifier, now: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |severity, text: String| findings.push(Finding { severity, text });
    for authority in &verifier.authorities {
        check_authority(authority, options, verifier, now, &mut found);
    }
    for list in verifier.lists.issuers() {
        let name = &list.name;
        if list.is_early(now) {
            found(
                Severity::Warning,
                format!("the revocation list of {name} is from the future: set the server's clock"),
            );
        }
        let Some(next_update) = list.next_update.filter(|_| list.is_expired(now)) else { continue };
        let due = utc(next_update);
        if options.accept_expired_crls {
            found(
                Severity::Warning,
                format!(
                    "a newer revocation list of {name} was due at {due}: put it into the file of client_crl; what was \
                     revoked since then is accepted"
                ),
            );
        } else {
            found(
                Severity::Refused,
                format!(
                    "a newer revocation list of {name} was due at {due}, so every certificate that it issued is \
                     refused: put it into the file of client_crl, or set client_crl_expired = \"accept\""
                ),
            );
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn check_authority(
    authority: &CertificateDer<'_>,
    options: &ClientAuth,
    verifier: &ClientVerifier,
    now: u64,
    found: &mut impl FnMut(Severity, String),
) {
    let Ok(parsed) = Certificate::from_der(authority) else { return };
    let content = parsed.tbs_certificate();
    let name = content.subject().to_string();
    let is_authority = content.get_extension::<BasicConstraints>();
    if !matches!(is_authority, Ok(Some((_, BasicConstraints { ca: true, .. })))) {
        found(
            Severity::Warning,
            format!(
                "{name} is not the certificate of an authority (CA:TRUE), but whatever its key signs is accepted"
            ),
        );
    }
    // An authority of client_ca counts for its name and key; its dates are not looked at.
    let end = content.validity().not_after.to_unix_duration().as_secs();
    if end < now {
        found(
            Severity::Warning,
            format!(
                "the authority {name} expired at {}, and what it issued is still accepted: remove it from client_ca \
                 once it is replaced",
                utc(end)
            ),
        );
    }
    let subject = content.subject().to_der().unwrap_or_default();
    if !options.crls.is_empty() && verifier.lists.of(&subject).is_none() {
        found(
            Severity::Warning,
            format!(
                "client_crl has no revocation list of {name}: certificates that it issued itself are refused, those \
                 of its intermediates need a list of theirs"
            ),
        );
    }
}
