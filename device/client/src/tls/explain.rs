//! Says in one sentence why TLS failed and what to do about it. The libraries' own texts are debug output, for
//! programmers; they go to the log at level debug.

use std::io;
use std::net::Ipv6Addr;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError};

/// What this device can verify, as an order to an authority.
const SUPPORTED: &str = "have it issued with ECDSA P-256 with SHA-256, P-384 with SHA-384, Ed25519, or RSA from 2048 bits with SHA-256";

/// For all mistakes of a server that its operator cannot know by these names.
const BROKEN: &str =
    "the server, or something between, does not follow the rules of TLS: see the server's log";

/// How many names of a certificate are shown, and how much of each.
const NAMES: usize = 4;
const NAME_LENGTH: usize = 64;

/// The sentence for a failed handshake with `name`. `is_alone` if the server has sent no intermediate certificate.
/// Expired certificates are not explained here.
pub(super) fn explain(error: &io::Error, name: &str, is_alone: bool) -> String {
    let Some(tls) = as_tls(error) else { return explain_io(error) };
    tracing::debug!(error = ?tls, "TLS failed");
    match tls {
        Error::InvalidCertificate(error) => certificate(error, name, is_alone),
        Error::AlertReceived(alert) => explain_alert(*alert),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "the server does not speak TLS at this port: correct the url, or the server".into(),
        Error::PeerIncompatible(_) => {
            "this device and the server have no version or method of TLS in common: the server needs \
             TLS 1.2 or 1.3"
                .into()
        }
        Error::NoCertificatesPresented => "the server has sent no certificate".into(),
        _ => BROKEN.into(),
    }
}

/// The sentence for the end of a connection after the handshake, by TLS or without it. A server of TLS 1.3 looks at
/// the device's certificate only then.
pub(crate) fn explain_late(error: &io::Error) -> String {
    match as_tls(error) {
        Some(Error::AlertReceived(alert)) => explain_alert(*alert),
        Some(_) => BROKEN.into(),
        // rustls explains this by an address on the web.
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the connection ended without notice".into()
        }
        None => error.to_string(),
    }
}

fn as_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn explain_io(error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset",
        _ => return error.to_string(),
    };
    format!(
        "the server {what} the connection during the TLS handshake: it does not speak TLS at this port, or it is a \
         proxy without a server behind it"
    )
}

fn explain_alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;

    let refused = |problem: &str| {
        format!("the server refused this device's client certificate: {problem}; see client_cert")
    };
    match alert {
        Alert::CertificateRequired => {
            "the server requires a client certificate: set client_cert and client_key".into()
        }
        Alert::CertificateExpired => refused("it has expired, renew it"),
        Alert::CertificateRevoked => refused("it is revoked"),
        Alert::UnknownCA => refused("the server does not trust its authority, or lacks an intermediate"),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError => refused("the server's log has the reason"),
        Alert::UnrecognisedName => {
            "the server does not know this name: correct the url, or the server's names".into()
        }
        Alert::NoApplicationProtocol => "the server does not offer HTTP/1.1 at this port".into(),
        Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
            "the server ended the handshake: it requires a client certificate (client_cert), or lacks TLS 1.2 or \
             1.3, an ECDHE cipher, or a certificate with a key of P-256, P-384, Ed25519, or RSA from 2048 bits"
                .into()
        }
        other => format!("the server ended TLS by alert {}: see its log", u8::from(other)),
    }
}

fn certificate(error: &CertificateError, name: &str, is_alone: bool) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            let untrusted = format!(
                "the certificate of {name} was not issued by an authority that this device trusts"
            );
            let advice = if is_alone {
                "the server sent no intermediate certificate: it has to send its whole chain, or its authority is \
                 missing in ca_file"
            } else {
                "its authority is missing in ca_file, or the server's chain is incomplete"
            };
            format!("{untrusted}; {advice}")
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "the certificate has no names: have it issued with a subjectAltName".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the certificate is not for {name}, only for {}: correct the url or the certificate",
            list(presented)
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: signature,
            ..
        } => format!(
            "a certificate of {name} is signed with {}, which this device does not support: {SUPPORTED}",
            describe_signature(signature)
        ),
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: signature,
            public_key_algorithm_id: key,
        } => format!(
            "a certificate of {name} is signed with {} by {}, which this device does not support: {SUPPORTED}",
            describe_signature(signature),
            describe_key(key)
        ),
        CertificateError::BadSignature => format!(
            "a signature of {name} is wrong: ca_file contains another authority with the same name, or the server's \
             certificate and key do not match, or a key is RSA with less than 2048 bits, where {SUPPORTED}"
        ),
        CertificateError::InvalidPurposeContext { .. } => {
            format!("the certificate of {name} is not for servers: have it issued with serverAuth")
        }
        CertificateError::Revoked => format!("the certificate of {name} is revoked: replace it"),
        CertificateError::BadEncoding => {
            format!("a certificate of {name} is malformed: replace it")
        }
        CertificateError::UnhandledCriticalExtension => format!(
            "a certificate of {name} has a critical extension that this device does not know: have it issued without"
        ),
        CertificateError::Other(OtherError(error)) => {
            other(error.downcast_ref::<webpki::Error>(), name)
        }
        _ => format!("a certificate of {name} is not acceptable: replace it"),
    }
}

/// What rustls only passes on.
fn other(error: Option<&webpki::Error>, name: &str) -> String {
    match error {
        Some(webpki::Error::CaUsedAsEndEntity) => format!(
            "the certificate of {name} is that of an authority: have one issued for the server, with CA:FALSE"
        ),
        Some(webpki::Error::EndEntityUsedAsCa) => format!(
            "the certificate of {name} was issued by a certificate that is not that of an authority (CA:FALSE)"
        ),
        Some(webpki::Error::PathLenConstraintViolated) => format!(
            "the chain of {name} is longer than one of its authorities allows (path length): have the certificate \
             issued by a higher one"
        ),
        Some(webpki::Error::NameConstraintViolation) => format!(
            "an authority in the chain of {name} may not issue certificates for this name (name constraints)"
        ),
        Some(webpki::Error::UnsupportedCertVersion) => {
            format!("a certificate of {name} is not of version 3: issue it again, with extensions")
        }
        Some(
            webpki::Error::MaximumPathDepthExceeded
            | webpki::Error::MaximumPathBuildCallsExceeded
            | webpki::Error::MaximumSignatureChecksExceeded,
        ) => format!(
            "the server of {name} sends too many certificates: only its chain belongs there"
        ),
        _ => format!("a certificate of {name} is malformed: replace it"),
    }
}

/// The names in a certificate, without anything that a terminal interprets.
fn list(presented: &[String]) -> String {
    let mut names: Vec<String> = presented.iter().take(NAMES).map(|name| plain(name)).collect();
    let last = match presented.len().checked_sub(NAMES) {
        Some(more @ 1..) => format!("{more} more"),
        _ => names.pop().unwrap_or_default(),
    };
    if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) }
}

/// The library gives a name as debug output, such as `DnsName("cloud.test")`.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    // The library writes ::1 as 0::1.
    if let Ok(address) = inner.parse::<Ipv6Addr>() {
        return address.to_string();
    }
    let is_plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    inner.trim_matches('"').chars().take(NAME_LENGTH).map(is_plain).collect()
}

/// The start of the identifier of all algorithms with elliptic curves, ANSI X9.62.
const X962: [u8; 5] = [0x2a, 0x86, 0x48, 0xce, 0x3d];

/// The same for PKCS #1.
const PKCS1: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];

/// The name of a signature algorithm, from the content of its AlgorithmIdentifier in DER.
fn describe_signature(id: &[u8]) -> &'static str {
    match identifier(id) {
        Some(id) if id.starts_with(&X962) => match id[X962.len()..] {
            [4, 1] => "ECDSA and SHA-1",
            [4, 3, 1] => "ECDSA and SHA-224",
            [4, 3, 2] => "ECDSA and SHA-256",
            [4, 3, 3] => "ECDSA and SHA-384",
            [4, 3, 4] => "ECDSA and SHA-512",
            _ => "ECDSA and an unknown hash",
        },
        Some(id) if id.starts_with(&PKCS1) => match id[PKCS1.len()..] {
            [4] => "RSA and MD5",
            [5] => "RSA and SHA-1",
            [10] => "RSA-PSS and an unusual hash",
            [14] => "RSA and SHA-224",
            _ => "RSA and an unusual hash",
        },
        Some([0x2b, 0x65, 0x71]) => "Ed448",
        _ => "an unknown algorithm",
    }
}

/// The kind of a key, from the content of its AlgorithmIdentifier in DER.
fn describe_key(id: &[u8]) -> &'static str {
    match identifier(id) {
        Some(algorithm) if algorithm.starts_with(&X962) => {
            match id.get(algorithm.len() + 2..).and_then(identifier) {
                Some([0x2b, 0x81, 0x04, 0x00, 0x23]) => "a P-521 key",
                Some([0x2b, 0x81, 0x04, 0x00, 0x0a]) => "a secp256k1 key",
                Some([0x2b, 0x81, 0x04, 0x00, 0x22]) => "a P-384 key",
                Some(curve) if curve.starts_with(&X962) => "a P-256 key",
                _ => "a key on an unknown curve",
            }
        }
        Some(id) if id.starts_with(&PKCS1) => "an RSA key",
        _ => "a key of an unknown kind",
    }
}

/// The object identifier that `der` begins with; all relevant ones are short.
fn identifier(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x06, length, rest @ ..] => rest.get(..usize::from(*length)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_named_from_any_bytes() {
        let ecdsa = [&[0x06, 0x08][..], &X962, &[4, 3, 4]].concat();
        assert_eq!(describe_signature(&ecdsa), "ECDSA and SHA-512");
        let p521 =
            [&[0x06, 0x07][..], &X962, &[2, 1], &[0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x23]].concat();
        assert_eq!(describe_key(&p521), "a P-521 key");
        for end in 0..p521.len() {
            let _ = (describe_key(&p521[..end]), describe_signature(&ecdsa[..end.min(9)]));
        }
        assert_eq!(describe_key(&[0x06, 0xff]), "a key of an unknown kind");
    }

    #[test]
    fn names_are_bounded_and_cannot_control_a_terminal() {
        let names =
            |names: &[&str]| list(&names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["DnsName(\"a.test\")"]), "a.test");
        assert_eq!(names(&["DnsName(\"a\")", "IpAddress(192.0.2.7)"]), "a and 192.0.2.7");
        assert_eq!(names(&["DnsName(\"a\u{1b}[2J\u{202e}\")"]), "a?[2J?");
        let long = format!("DnsName(\"{}\")", "n".repeat(60_000));
        let many = vec![&*long; 1_000];
        assert!(names(&many).len() < 400 && names(&many).ends_with(" and 996 more"));
    }

    #[test]
    fn each_alert_has_a_sentence_without_debug_output() {
        for code in 0..=u8::MAX {
            let text = explain_alert(AlertDescription::from(code));
            assert!(text.starts_with("the server ") && !text.contains("Alert"), "{text}");
        }
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            Error::AlertReceived(AlertDescription::CertificateRequired),
        );
        let expected = "the server requires a client certificate: set client_cert and client_key";
        assert_eq!(explain_late(&error), expected);
    }
}
