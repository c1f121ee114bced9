//! What clients will make of a certificate chain: whether it leads to an authority, is valid now and names its
//! server. It changes nothing about what is served.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are of other crates, and a new variant needs no decision here"
)]

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use fedecks_common::utc;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::signature_algorithm;

/// What clients will make of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateReport {
    /// The names and addresses that it is valid for.
    pub names: Vec<String>,
    /// The type of its key.
    pub key: String,
    /// Who issued it, as far as the file shows.
    pub issuer: String,
    /// What to know about it, the most serious first.
    pub findings: Vec<Finding>,
}

/// Something to know about a certificate, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// What is wrong, and what to do.
    pub text: String,
}

/// How serious a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Every client refuses the certificate.
    Refused,
    /// Clients may refuse it.
    Warning,
    /// Clients accept it if they are configured for it.
    Note,
}

/// The list of certificate transparency logs that a public authority has put into a certificate.
const PUBLIC_LOGS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// The report on a chain, the server's own certificate first.
pub(crate) fn report(
    chain: &[CertificateDer<'_>],
    now: u64,
    authorities: &[TrustAnchor<'static>],
    all: bool,
) -> CertificateReport {
    let parsed: Result<Vec<_>, _> =
        chain.iter().map(|certificate| Certificate::from_der(certificate)).collect();
    let own = parsed.ok().filter(|parsed| !parsed.is_empty());
    let Some(parsed) = own else {
        let text = "it cannot be parsed, so clients refuse it; obtain a new one".to_owned();
        let findings = vec![Finding { severity: Severity::Refused, text }];
        let unknown = || "unknown".to_owned();
        return CertificateReport {
            names: Vec::new(),
            key: unknown(),
            issuer: unknown(),
            findings,
        };
    };
    let mut checks = Checks {
        chain,
        parsed: &parsed,
        now,
        authorities,
        all,
        is_accepted: false,
        findings: Vec::new(),
    };
    let names = names(&parsed[0]);
    checks.is_accepted = checks.verify(None).is_ok();
    checks.names(&names);
    checks.validity();
    checks.signatures();
    let issuer = checks.issuer();
    let mut findings = checks.findings;
    findings.sort_by_key(|finding| finding.severity);
    CertificateReport { names, key: signature_algorithm::key_type(&parsed[0]), issuer, findings }
}

struct Checks<'a> {
    chain: &'a [CertificateDer<'a>],
    parsed: &'a [Certificate],
    now: u64,
    authorities: &'a [TrustAnchor<'static>],
    all: bool,
    /// The authorities accept it, perhaps without all certificates of the file.
    is_accepted: bool,
    findings: Vec<Finding>,
}

/// How the links from each certificate to its issuer end.
enum End {
    /// With a certificate that issued itself.
    Itself(usize),
    /// With one whose issuer is not in the file.
    Missing(usize),
}

impl Checks<'_> {
    fn found(&mut self, severity: Severity, text: impl Into<String>) {
        self.findings.push(Finding { severity, text: text.into() });
    }

    fn names(&mut self, names: &[String]) {
        if names.is_empty() {
            self.found(
                Severity::Refused,
                "it names no server: clients ignore the common name, so request one with a \
                 subjectAltName, such as DNS:cloud.example.com",
            );
        }
    }

    fn validity(&mut self) {
        for (index, certificate) in self.parsed.iter().enumerate() {
            // The root is the client's own.
            if index > 0 && is_self_issued(certificate) {
                continue;
            }
            let which = self.which(index);
            let (start, end) = validity(certificate);
            if self.now < start {
                let (start, now) = (utc(start), utc(self.now));
                let text = format!(
                    "{which} is not valid before {start}, and the clock shows {now}: set the clock, or \
                     wait until clients accept it"
                );
                self.broken(index, text);
            } else if self.now >= end {
                self.broken(index, format!("{which} expired at {}: renew it", utc(end)));
            }
        }
    }

    fn signatures(&mut self) {
        for (index, certificate) in self.parsed.iter().enumerate() {
            if index > 0 && is_self_issued(certificate) {
                continue;
            }
            if let Some(problem) = signature_algorithm::problem(certificate) {
                let which = self.which(index);
                self.broken(index, format!("{which} {problem}"));
            }
        }
    }

    /// A certificate of the file is of no use. If devices do without it, as without one that led to an older
    /// authority, others may not.
    fn broken(&mut self, index: usize, text: String) {
        if index > 0 && self.is_accepted {
            let advice = "devices do not need it, so it can also be removed from the file";
            self.found(Severity::Warning, format!("{text}; {advice}"));
        } else {
            self.found(Severity::Refused, text);
        }
    }

    /// Who issued the chain. Follows it to an authority.
    fn issuer(&mut self) -> String {
        let public = match self.verify(None) {
            Ok(()) => return "by an authority that is trusted".into(),
            Err(error) => error,
        };
        let end = self.follow();
        let issuer = match end {
            End::Itself(0) => "by itself".to_owned(),
            End::Itself(index) => format!("by the authority {}", subject(&self.parsed[index])),
            End::Missing(index) => format!("by {}", self.parsed[index].tbs_certificate().issuer()),
        };
        match (public, end) {
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), End::Missing(index)) => {
                self.missing(index);
            }
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), End::Itself(index)) => {
                self.private(index);
            }
            (error, _) => self.refused(&error),
        }
        issuer
    }

    /// The certificate that issued this one is not in the file.
    fn missing(&mut self, index: usize) {
        let certificate = &self.parsed[index];
        let issuer = certificate.tbs_certificate().issuer().to_string();
        let which = self.which(index);
        let append =
            "append the certificate of its issuer to the file (with certbot, use fullchain.pem)";
        let is_public = certificate.tbs_certificate().extensions().is_some_and(|extensions| {
            extensions.iter().any(|extension| extension.extn_id == PUBLIC_LOGS)
        });
        if self.all || is_public {
            self.found(
                Severity::Refused,
                format!(
                    "the chain is incomplete: {which} was issued by {issuer}, which is neither in the file \
                     nor an authority that devices trust: {append}"
                ),
            );
        } else {
            self.found(
                Severity::Warning,
                format!(
                    "the chain may be incomplete: {which} was issued by {issuer}, which is neither in the \
                     file nor a public authority. If it is an intermediate, {append}, or devices refuse it; \
                     if it is your own authority, devices need it as ca_file"
                ),
            );
        }
    }

    /// The chain ends with a certificate of the file that issued itself.
    fn private(&mut self, root: usize) {
        match self.verify(Some(root)) {
            Ok(()) if self.all => {
                let root = subject(&self.parsed[root]);
                self.found(
                    Severity::Refused,
                    format!("the chain ends with {root}, which devices do not trust: add it to their ca_file"),
                );
            }
            Ok(()) if root == 0 => self.found(
                Severity::Note,
                "it was issued by itself: devices accept it only with it as their ca_file",
            ),
            Ok(()) => {
                let root = subject(&self.parsed[root]);
                self.found(
                    Severity::Note,
                    format!(
                        "devices accept it only with the private authority {root} as their ca_file"
                    ),
                );
            }
            Err(error) => self.refused(&error),
        }
    }

    fn refused(&mut self, error: &Error) {
        let text = match error {
            // Said already.
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
                | CertificateError::UnsupportedSignatureAlgorithmContext { .. },
            ) => return,
            Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            ) => "its extended key usage is not for servers: request one with serverAuth".to_owned(),
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "the certificates of the file did not issue one another, or one may not issue others: \
                 download the chain of this certificate again"
                    .to_owned()
            }
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                "a certificate of the file has the name of an issuer but another key: download the chain of \
                 this certificate again"
                    .to_owned()
            }
            Error::InvalidCertificate(CertificateError::Other(other))
                if other.to_string().contains("CaUsedAsEndEntity") =>
            {
                "it is that of an authority (CA:TRUE), which devices do not accept for a server: issue one \
                 for the server with it"
                    .to_owned()
            }
            error => format!("clients refuse it: {error}"),
        };
        self.found(Severity::Refused, text);
    }

    /// Verifies the chain as a client does that trusts the authorities and this certificate of the file, at a time
    /// at which the server's own certificate is valid.
    fn verify(&self, root: Option<usize>) -> Result<(), Error> {
        let mut roots = RootCertStore { roots: self.authorities.to_vec() };
        if let Some(root) = root {
            roots.add(self.chain[root].clone().into_owned())?;
        }
        let own = ParsedCertificate::try_from(&self.chain[0])?;
        let (start, end) = validity(&self.parsed[0]);
        let now = self.now.min(end.saturating_sub(1)).max(start);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let supported = ring::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&own, &roots, &self.chain[1..], now, supported)
    }

    /// Follows the names of issuers.
    fn follow(&self) -> End {
        let mut seen = HashSet::from([0]);
        let mut here = 0;
        loop {
            if is_self_issued(&self.parsed[here]) {
                return End::Itself(here);
            }
            let issuer = self.parsed[here].tbs_certificate().issuer();
            let is_issuer =
                |index: &usize| self.parsed[*index].tbs_certificate().subject() == issuer;
            match (0..self.parsed.len()).filter(|index| !seen.contains(index)).find(is_issuer) {
                Some(next) => {
                    seen.insert(next);
                    here = next;
                }
                None => return End::Missing(here),
            }
        }
    }

    fn which(&self, index: usize) -> String {
        match index {
            0 => "the certificate".into(),
            index => {
                format!("certificate {} of the file ({})", index + 1, subject(&self.parsed[index]))
            }
        }
    }
}

fn is_self_issued(certificate: &Certificate) -> bool {
    certificate.tbs_certificate().issuer() == certificate.tbs_certificate().subject()
}

fn subject(certificate: &Certificate) -> String {
    certificate.tbs_certificate().subject().to_string()
}

/// The first and the last second, since 1970-01-01 UTC.
fn validity(certificate: &Certificate) -> (u64, u64) {
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
    (seconds(validity.not_before), seconds(validity.not_after))
}

fn names(certificate: &Certificate) -> Vec<String> {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, SubjectAltName(names)))) = found else { return Vec::new() };
    let name = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    };
    names.iter().filter_map(name).collect()
}
