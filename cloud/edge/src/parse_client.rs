//! Reads the names, the key and the dates of a client's certificate.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is of another crate, and a new variant needs no decision here"
)]

use std::fmt::{Display, Write};

use fedecks_common::text;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};
use x509_cert::name::Name;

use crate::client_certificate::ClientCertificate;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The most of a name that is kept for people, in characters.
const SHOWN: usize = 256;

/// Without what verifies it; `None` if it cannot be parsed.
pub(crate) fn parse(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let content = certificate.tbs_certificate();
    let key = content.subject_public_key_info().to_der().ok()?;
    let key = digest(&SHA256, &key).as_ref().try_into().ok()?;
    let validity = content.validity();
    let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
    if let Some((_, SubjectAltName(names))) = content.get_extension().ok()? {
        for name in &names {
            match name {
                GeneralName::DnsName(name) => dns_names.push(name.as_str().to_owned()),
                GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.as_str().to_owned()),
                _ => {}
            }
        }
    }
    Some(ClientCertificate::new(key).with(|it| {
        it.subject = shown(content.subject());
        it.common_name = common_name(content.subject());
        it.dns_names = dns_names;
        it.uris = uris;
        it.serial = hexadecimal(content.serial_number().as_bytes());
        it.issuer = shown(content.issuer());
        it.not_before = validity.not_before.to_unix_duration().as_secs();
        it.not_after = validity.not_after.to_unix_duration().as_secs();
    }))
}

/// `None` if there is none, or more than one: it is not clear which of them is meant.
fn common_name(subject: &Name) -> Option<String> {
    let mut names = subject.iter().filter(|attribute| attribute.oid == COMMON_NAME);
    let (first, second) = (names.next()?, names.next());
    let name = DirectoryString::try_from(&first.value).ok()?;
    second.is_none().then(|| name.value().into_owned())
}

fn shown(name: impl Display) -> String {
    let name = name.to_string();
    let short: String = text::escape(&name).chars().take(SHOWN).collect();
    short
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
