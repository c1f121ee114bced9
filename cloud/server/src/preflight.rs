//! What the server reads at its start, read before anything is created: `serve` continues with it, and
//! `check-config` shows it.

use std::net::SocketAddr;

use fedecks_cloud::serve::{CertificateReport, Finding, Severity, Tls};
use fedecks_store::unix_now;
use rustls_pki_types::TrustAnchor;

use crate::config::Config;
use crate::error::ServerError;
use crate::{listeners, store, webhooks};

/// What was read.
pub(crate) struct Preflight {
    /// The certificate of each listener that has one in files.
    pub(crate) certificates: Vec<Option<Tls>>,
    /// What is dangerous in the configuration, or in the permissions of its files.
    pub(crate) warnings: Vec<String>,
}

/// Reads everything that the server reads at its start, and changes nothing: it fails as the server would.
pub(crate) fn check(config: &Config) -> Result<Preflight, ServerError> {
    if config.secrets.generated().is_none() {
        config.secrets.keyring()?;
    }
    webhooks::check(&config.webhooks)?;
    let certificates = listeners::read_certificates(config)?;
    store::check(config)?;
    Ok(Preflight { certificates, warnings: config.warnings() })
}

impl Preflight {
    /// Logs what is dangerous, and what devices will refuse.
    pub(crate) fn log(&self) {
        for problem in &self.warnings {
            tracing::warn!(problem, "the configuration is not safe");
        }
        for tls in self.certificates.iter().flatten() {
            log_report(tls);
            log_client_findings(tls);
        }
    }
}

/// What devices that trust the public authorities will make of a certificate.
pub(crate) fn report(tls: &Tls) -> CertificateReport {
    tls.report(unix_now(), webpki_roots::TLS_SERVER_ROOTS, false)
}

/// The same for devices that also trust these, and no others.
pub(crate) fn report_for(tls: &Tls, more: &[TrustAnchor<'static>]) -> CertificateReport {
    let authorities = [webpki_roots::TLS_SERVER_ROOTS, more].concat();
    tls.report(unix_now(), &authorities, true)
}

/// Logs what devices will refuse about a certificate. That it has expired is logged elsewhere, each day.
pub(crate) fn log_report(tls: &Tls) {
    if tls.not_after().is_some_and(|end| end <= unix_now()) {
        return;
    }
    let certificate = tls.certificate().display();
    for finding in report(tls).findings {
        let problem = finding.text;
        match finding.severity {
            Severity::Refused => {
                tracing::error!(%certificate, problem, "devices refuse the certificate");
            }
            Severity::Note => tracing::debug!(%certificate, problem, "about the certificate"),
            _ => tracing::warn!(%certificate, problem, "devices may refuse the certificate"),
        }
    }
}

/// Logs what is wrong with what a listener verifies the certificates of devices by.
pub(crate) fn log_client_findings(tls: &Tls) {
    for Finding { severity, text: problem, .. } in tls.client_auth_findings(unix_now()) {
        match severity {
            Severity::Refused => tracing::error!(problem, "certificates of devices are refused"),
            _ => tracing::warn!(problem, "about the certificates of devices"),
        }
    }
}

/// The addresses that the server listens on.
pub(crate) fn addresses(config: &Config) -> Vec<SocketAddr> {
    config.listeners.iter().map(|listener| listener.address).collect()
}

/// Fails as listening would, before a server gets the lease of a database or waits for it.
pub(crate) fn check_addresses(config: &Config) -> Result<(), ServerError> {
    let failed = fedecks_cloud::serve::check_addresses(&addresses(config));
    failed.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    /// What is found about a certificate that issued itself.
    fn found(
        folder: &Path,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<(Severity, String)> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        found_in(folder, &certificate.pem(), &key)
    }

    fn found_in(folder: &Path, chain: &str, key: &KeyPair) -> Vec<(Severity, String)> {
        let findings = report(&read(folder, chain, key)).findings.into_iter();
        findings.map(|finding| (finding.severity, finding.text)).collect()
    }

    fn read(folder: &Path, chain: &str, key: &KeyPair) -> Tls {
        let [certificate, private] = ["c.pem", "k.pem"].map(|name| folder.join(name));
        fs::write(&certificate, chain).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        Tls::from_pem_files(certificate, private).unwrap()
    }

    /// What a certificate of an authority is made of.
    fn authority(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params, KeyPair::generate().unwrap())
    }

    #[test]
    fn what_every_device_refuses_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let in_days = |days: u64| SystemTime::now() + Duration::from_secs(days * 24 * 3600);
        let old = rcgen::date_time_ymd(2020, 1, 31);
        for (findings, expected) in [
            (found(folder, |params| params.subject_alt_names.clear()), "it names no server"),
            (
                found(folder, |params| params.not_after = old),
                "the certificate expired at 2020-01-31",
            ),
            (
                found(folder, |params| params.not_before = in_days(9).into()),
                "is not valid before 20",
            ),
            (
                found(folder, |params| {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                }),
                "its extended key usage is not for servers",
            ),
            (
                found(folder, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                "it is that of an authority (CA:TRUE)",
            ),
        ] {
            let (severity, text) = &findings[0];
            assert!(*severity == Severity::Refused && text.contains(expected), "{findings:?}");
        }
        let fine = found(folder, |_| {});
        assert_eq!(fine.len(), 1, "{fine:?}");
        assert_eq!(fine[0].0, Severity::Note, "{fine:?}");
    }

    #[test]
    fn a_chain_is_checked_beyond_its_first_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let (root, root_key) = authority("root");
        let root = root.self_signed(&root_key).unwrap();
        let (mut middle, middle_key) = authority("middle");
        middle.not_after = rcgen::date_time_ymd(2020, 1, 31);
        let middle = middle.signed_by(&middle_key, &root, &root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&key, &middle, &middle_key).unwrap();
        let chain = format!("{}{}{}", own.pem(), middle.pem(), root.pem());
        let findings = found_in(folder.path(), &chain, &key);
        let expected =
            "certificate 2 of the file (CN=middle) expired at 2020-01-31T00:00:00Z: renew it";
        assert!(findings.contains(&(Severity::Refused, expected.into())), "{findings:?}");
    }

    #[test]
    fn a_certificate_that_devices_do_without_is_no_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let (root, root_key) = authority("root");
        let (old, old_key) = authority("old");
        let old = old.self_signed(&old_key).unwrap();
        // The root as older devices know it: issued by an authority that they trust.
        let mut cross = root.clone();
        cross.not_after = rcgen::date_time_ymd(2021, 9, 30);
        let cross = cross.signed_by(&root_key, &old, &old_key).unwrap();
        let root = root.self_signed(&root_key).unwrap();
        let (middle, middle_key) = authority("middle");
        let middle = middle.signed_by(&middle_key, &root, &root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&key, &middle, &middle_key).unwrap();
        let chain = format!("{}{}{}", own.pem(), middle.pem(), cross.pem());
        let tls = read(folder.path(), &chain, &key);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let findings = report_for(&tls, &roots.roots).findings;
        let [Finding { severity: Severity::Warning, text, .. }] = &*findings else {
            panic!("{findings:?}");
        };
        assert!(text.starts_with("certificate 3 of the file (CN=root) expired at 2021"), "{text}");
    }

    #[test]
    fn a_signature_that_devices_cannot_verify_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let mut der = params.self_signed(&key).unwrap().der().to_vec();
        // ecdsa-with-SHA256 becomes ecdsa-with-SHA512; the signature itself is not verified.
        let number = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        for at in 0..der.len() - number.len() {
            if der[at..].starts_with(&number) {
                der[at + 7] = 4;
            }
        }
        let base64 = data_encoding::BASE64.encode(&der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        let findings = found_in(folder.path(), &pem, &key);
        let (severity, text) = &findings[0];
        let expected =
            "the certificate is signed by ECDSA with SHA-512, which devices do not accept: have";
        assert!(*severity == Severity::Refused && text.starts_with(expected), "{findings:?}");
    }
}
